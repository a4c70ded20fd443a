"""numpy's and scipy's side of npm run bench:algebra. Arguments: rounds, a word that names must contain, "full" for the full
SVD of the largest matrix. Prints JSON: seconds and the relative error of the result, by name."""
import json
import statistics
import sys
import time

import numpy as np
import scipy.linalg as sl
import scipy.sparse.linalg as ssl

rounds, word, full = int(sys.argv[1]), sys.argv[2], "full" in sys.argv[3:]
found = {}


def random64(rows, columns):
    """The matrices of bench/algebra.ts."""
    x = np.arange(rows * columns, dtype=np.uint32) * np.uint32(0x9E3779B1)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x85EBCA77)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE3D)
    x ^= x >> np.uint32(16)
    return (x / 2**31 - 1).reshape(rows, columns)


def relative(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def measure(name, prepare, once=False):
    if word not in name:
        return
    work, error = prepare()
    times = []
    result = None if once else work()
    for _ in range(1 if once else rounds):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    found[name] = {"seconds": statistics.median(times), "error": error(result)}


def product32():
    a = random64(1024, 1024).astype(np.float32)
    return lambda: a @ a, lambda c: relative(c, a.astype(np.float64) @ a.astype(np.float64))


def product64():
    a, x = random64(1024, 1024), random64(1024, 1)
    return lambda: a @ a, lambda c: relative(c @ x, a @ (a @ x))


def qr():
    a = random64(4096, 128)
    return lambda: np.linalg.qr(a), lambda f: relative(f[0] @ f[1], a)


def eigen():
    a = random64(512, 512)
    a = a + a.T
    return lambda: np.linalg.eigh(a), lambda f: float(np.linalg.norm(a @ f[1] - f[1] * f[0]) / np.linalg.norm(a))


def svd(rows, columns):
    a = random64(rows, columns)
    return lambda: np.linalg.svd(a, full_matrices=False), lambda f: relative((f[0] * f[1]) @ f[2], a)


def solve():
    factor = random64(2048, 2048)
    a, b = factor @ factor.T, random64(2048, 64)
    return (lambda: sl.cho_solve(sl.cho_factor(a, lower=True), b),
            lambda x: float(np.linalg.norm(a @ x - b) / (np.linalg.norm(a) * np.linalg.norm(x))))


def truncated(how):
    def prepare():
        a = (random64(4096, 4096) / (1 + np.arange(4096) / 32)[:, None]).astype(np.float32)
        return lambda: how(a), lambda f: relative((f[0] * f[1]) @ f[2], a)
    return prepare


def by_sketch(a, rank=64, oversampling=16, powers=2):
    y = np.linalg.qr(a @ np.random.default_rng(0).standard_normal((a.shape[1], rank + oversampling), np.float32))[0]
    for _ in range(powers):
        y = np.linalg.qr(a @ np.linalg.qr(a.T @ y)[0])[0]
    u, s, vt = np.linalg.svd(y.T @ a, full_matrices=False)
    return (y @ u)[:, :rank], s[:rank], vt[:rank]


def exactly(a, rank=64):
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    return u[:, :rank], s[:rank], vt[:rank]


measure("product f32, 1024 cubed", product32)
measure("product f64, 1024 cubed", product64)
measure("QR, 4096 x 128", qr)
measure("symmetric eigenvalues, 512", eigen)
measure("SVD, 512 x 512", lambda: svd(512, 512))
measure("SVD, 2048 x 256", lambda: svd(2048, 256))
measure("Cholesky and solve, 2048, 64 right sides", solve)
big = "truncated SVD, 4096 x 4096, rank 64"
measure(f"{big}: numpy, the same sketch in f32", truncated(by_sketch))
measure(f"{big}: scipy.sparse.linalg.svds", truncated(lambda a: ssl.svds(a, k=64)), once=True)
if full:
    measure(f"{big}: numpy.linalg.svd", truncated(exactly), once=True)
print(json.dumps(found))
