"""What runs a model: torch anywhere, OpenVINO on CPUs."""
