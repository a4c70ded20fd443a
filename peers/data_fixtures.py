"""Small picture files and Parquet tables, and what Pillow and PyArrow make of them; greedy texts of a small T5.

    peers/.venv/bin/python peers/data_fixtures.py test/evaluate/fixtures

Needs pillow, pyarrow, torch and transformers; the tests need none of them.
"""
import base64
import io
import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers as tf
from PIL import Image
from safetensors.torch import load_file

OUT = pathlib.Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)
HERE = pathlib.Path(__file__).parent.parent
text = lambda data: base64.b64encode(data).decode()


def noise(mode, size, seed):
    """Smooth with some noise, so that decoders and filters have something to do."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    generator = torch.Generator().manual_seed(seed)
    wide, high = size
    rough = torch.randint(0, 60, (high, wide, bands), generator=generator)
    x = torch.arange(wide).view(1, -1, 1) * 170 // wide
    y = torch.arange(high).view(-1, 1, 1) * 80 // high
    data = ((rough + x + y * torch.arange(1, bands + 1)) % 256).to(torch.uint8)
    return Image.frombytes(mode, size, bytes(data.flatten().tolist()))


def encoded(image, **how):
    file = io.BytesIO()
    image.save(file, **how)
    return file.getvalue()


def pictures():
    colour = noise("RGB", (23, 17), 1)
    sixteen = Image.frombytes("I;16", (9, 7), bytes(torch.arange(126).mul(2).to(torch.uint8).tolist()))
    cases = {
        "grey": encoded(noise("L", (23, 17), 2), format="PNG"),
        "colour": encoded(colour, format="PNG"),
        "alpha": encoded(noise("RGBA", (12, 9), 3), format="PNG"),
        "grey-alpha": encoded(noise("LA", (12, 9), 4), format="PNG"),
        "palette": encoded(colour.convert("P", palette=Image.Palette.ADAPTIVE, colors=11), format="PNG"),
        "one-bit": encoded(noise("L", (21, 6), 5).convert("1"), format="PNG"),
        "sixteen-bit": encoded(sixteen, format="PNG"),
        "jpeg": encoded(noise("RGB", (40, 30), 6), format="JPEG", quality=92, subsampling=0),
        "jpeg-420": encoded(noise("RGB", (40, 30), 7), format="JPEG", quality=92, subsampling=2),
        "jpeg-grey": encoded(noise("L", (31, 22), 8), format="JPEG", quality=90),
        "jpeg-progressive": encoded(noise("RGB", (33, 25), 9), format="JPEG", quality=85, progressive=True),
    }
    result = {}
    for name, data in cases.items():
        image = Image.open(io.BytesIO(data))
        if image.mode.startswith("I;16"):
            raw = image.tobytes()
            image = Image.frombytes("L", image.size, raw[1::2] if image.mode == "I;16" else raw[0::2])
        plain = image.convert("L" if image.mode in ("L", "1", "LA") else "RGB")
        result[name] = {"file": text(data), "mode": plain.mode, "size": plain.size, "pixels": text(plain.tobytes())}
    return result


def resized():
    cases = []
    for mode, before, after in [("L", (28, 28), (14, 14)), ("RGB", (37, 21), (16, 24)), ("L", (9, 11), (28, 28))]:
        image = noise(mode, before, 11)
        for number, name in enumerate(["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]):
            pixels = image.resize(after, number).tobytes()
            cases.append({"mode": mode, "before": before, "after": after, "resample": name,
                          "from": text(image.tobytes()), "to": text(pixels)})
    grey = noise("RGB", (16, 16), 12)
    cases.append({"mode": "luma", "from": text(grey.tobytes()), "to": text(grey.convert("L").tobytes())})
    return cases


def tables():
    images = [encoded(noise("RGB", (10, 8), seed), format="PNG") for seed in range(7)]
    labels = [0, 2, 1, 1, 0, 2, 1]
    struct = pa.array([{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(images)],
                      type=pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    features = {"image": {"_type": "Image"}, "label": {"names": ["a", "b", "c", "never"], "_type": "ClassLabel"}}
    schema = pa.schema([("image", struct.type), ("label", pa.int64())],
                       metadata={"huggingface": json.dumps({"info": {"features": features}})})
    table = pa.Table.from_arrays([struct, pa.array(labels)], schema=schema)
    pq.write_table(table.slice(0, 4), OUT / "test-00000-of-00002.parquet", row_group_size=3, compression="snappy")
    pq.write_table(table.slice(4), OUT / "test-00001-of-00002.parquet", row_group_size=3, compression="zstd")
    rows = pa.table({"sentence": ["un", "deux", "trois", "quatre, cinq — six"], "label": pa.array([1, 0, 1, 0], pa.int32()),
                     "options": [["a", "b"], ["c", "d", "e"], ["f", "g"], ["h", "i"]]})
    pq.write_table(rows, OUT / "texts.parquet", compression="gzip")


def greedy():
    """A T5 whose tokens are words, with its end token made likely; greedy generation by transformers."""
    folder = HERE / "test" / "runtime" / "fixtures"
    config = json.loads((folder / "t5.json").read_text())["config"]
    config.update(decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
    model = tf.T5ForConditionalGeneration(tf.T5Config(**{k: v for k, v in config.items() if k != "architectures"})).eval()
    weights = load_file(folder / "t5.safetensors")
    model.load_state_dict(weights, strict=False)
    cases = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(2, config["vocab_size"], (1, 3 + seed % 4), generator=generator)
        inputs = torch.cat([ids, torch.tensor([[1]])], 1)
        said = model.generate(inputs, max_new_tokens=6, do_sample=False, num_beams=1)[0].tolist()[1:]
        cases.append({"input": ids[0].tolist(), "said": said})
    return {"config": config, "cases": cases}


(OUT / "pictures.json").write_text(json.dumps({"pictures": pictures(), "resized": resized()}) + "\n")
(OUT / "greedy.json").write_text(json.dumps(greedy()) + "\n")
tables()
