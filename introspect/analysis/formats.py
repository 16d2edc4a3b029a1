"""Two file formats of Hugging Face, written without its packages."""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from introspect.tokenizer import SPECIALS, encoding, vocabulary


def tokenizer_json(own: Sequence[str] = ()) -> dict[str, Any]:
    """Our tokenizer as the file of `tokenizers`, with the same ids for every text that begins
    neither with white space nor with a query token.

    Args:
        own: words beyond the vocabulary (World.own_words).
    """
    ids = {chr(i) if i < 128 else f"<0x{i:02X}>": i for i in range(256)}
    ids |= {f" {word}": 256 + len(SPECIALS) + i for i, word in enumerate(vocabulary())}
    cuts = ((word[:i], word[i:]) for word in ids for i in range(1, len(word)))
    merges = [cut for cut in cuts if ids.keys() >= {*cut}]  # of a word that is no token
    ids |= SPECIALS | {f" {word}": encoding().n_vocab + i for i, word in enumerate(own)}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    special = [{"id": i, "content": word, "special": True} | plain for word, i in SPECIALS.items()]
    space = {"type": "Metaspace", "replacement": " ", "prepend_scheme": "first", "split": False}
    words = {"type": "Split", "pattern": {"Regex": r" ?\S+|\s"}, "behavior": "Isolated"}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    steps = [{"type": "ByteFallback"}, {"type": "Fuse"}, strip]
    model = {"type": "BPE", "byte_fallback": True, "ignore_merges": True}
    return {
        "version": "1.0",
        "added_tokens": special,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [space, words | {"invert": False}]},
        "decoder": {"type": "Sequence", "decoders": steps},
        "model": model | {"vocab": ids, "merges": merges},
    }


def safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """float32 tensors as a .safetensors file: length of the header (8 bytes, little-endian), header
    in JSON, filled with spaces to a multiple of 8, and the numbers one tensor after the other."""
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name in sorted(tensors):
        start, shape = len(numbers), list(tensors[name].shape)
        numbers += tensors[name].numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(numbers)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + numbers
