"""The examples as modules."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    """Load an example by its path: `examples` is no package, and another may have that name."""
    spec = spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"no example {name} in {FOLDER}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
