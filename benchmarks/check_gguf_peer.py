"""Driver of llama.cpp for check_gguf.py; run by `.venv-gguf`'s interpreter, imports nothing of groundup.

    .venv-gguf/bin/python benchmarks/check_gguf_peer.py FOLDER

FOLDER holds *.gguf, asked.json ({"tokens": [...], "prompt": [...], "greedy": n}) for each by its stem, and texts.json. Writes for each file
NAME.npz with `logits` (T, V) and `greedy`, and NAME.ids.json with the ids of every text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from llama_cpp import Llama  # type: ignore[import-not-found]


def main() -> None:
    """Answer what the folder asks."""
    folder = Path(sys.argv[1])
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    for path in sorted(folder.glob("*.gguf")):
        asked = json.loads((folder / f"{path.stem}.asked.json").read_text())
        model = Llama(str(path), n_ctx=asked["context"], n_threads=1, logits_all=True, verbose=False)
        model.eval(asked["tokens"])
        logits = np.array(model.scores[: len(asked["tokens"])])
        model.reset()
        tokens, written = list(asked["prompt"]), []
        model.eval(tokens)
        for _ in range(asked["greedy"]):
            written.append(int(np.argmax(model.scores[model.n_tokens - 1])))
            model.eval(written[-1:])
        np.savez(folder / f"{path.stem}.npz", logits=logits, greedy=np.array(written))
        ids = [model.tokenize(text.encode(), add_bos=False, special=False) for text in texts] if asked["texts"] else None
        (folder / f"{path.stem}.ids.json").write_text(json.dumps({"ids": ids, "description": model.metadata.get("general.architecture")}))
        model.close()


if __name__ == "__main__":
    main()
