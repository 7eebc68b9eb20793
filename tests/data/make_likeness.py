#!/usr/bin/python3
"""Writes likeness.safetensors: what SciPy makes of some distributions, distances and matrices, for
tests/test_study_likeness.c to compare with. tests/data/README.md describes the file.

    /usr/bin/python3 tests/data/make_likeness.py [FILE]
"""

import json
import os
import struct
import sys

import numpy as np
import scipy
from scipy.cluster.hierarchy import linkage
from scipy.linalg import subspace_angles
from scipy.spatial.distance import jensenshannon, pdist, squareform

SEED = 19521973


def distributions(rng):
    """Pairs over nine keys: some nearly alike, some with nothing in common, some with zeros."""
    p, q = rng.dirichlet(np.full(9, 0.7), 12), rng.dirichlet(np.full(9, 0.7), 12)
    p[0], q[0] = np.eye(9)[2], np.eye(9)[5]
    p[1, 4:], q[1, :4] = 0, 0
    p[2, 3], q[2, 3], q[2, 7] = 0, 0, 0
    q[3] = p[3] + 1e-3 * (rng.random(9) - 0.5)
    q[4] = 1
    p, q = (np.abs(x) / np.abs(x).sum(1, keepdims=True) for x in (p, q))
    distance = [jensenshannon(a, b, base=2) for a, b in zip(p, q)]
    return {"js.p": p, "js.q": q, "js.distance": distance}


def trees(rng):
    """Average linkage of points in the plane, of points in many dimensions, and of no points at all."""
    made = {}
    apart = [pdist(rng.normal(size=(2, 2))), pdist(rng.normal(size=(11, 2))), pdist(rng.normal(size=(24, 9)))]
    for i, condensed in enumerate([*apart, rng.random(13 * 12 // 2)]):
        made[f"tree.{i}.distance"] = squareform(condensed)
        made[f"tree.{i}.merges"] = linkage(condensed, method="average")
    return made


def angles(rng):
    """Mean squared cosines between row spaces: in general position, meeting, the whole space, without full rank."""
    made = {}
    for i, (rows, width) in enumerate([(3, 12), (8, 12), (10, 8), (4, 16)]):
        a, b = rng.normal(size=(rows, width)), rng.normal(size=(rows, width))
        if i == 3:
            a[3] = a[0] - 2 * a[1]
            b[2] = a[2]
        made[f"angles.{i}.a"], made[f"angles.{i}.b"] = a, b
        made[f"angles.{i}.likeness"] = [np.mean(np.cos(subspace_angles(a.T, b.T)) ** 2)]
    return made


def map_of(rng):
    """Classical scaling, from its definition, of distances that are no points' distances."""
    n = 10
    distance = squareform(0.3 + rng.random(n * (n - 1) // 2))
    centring = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centring @ distance**2 @ centring)
    place = vectors[:, [-1, -2]] * np.sqrt(values[[-1, -2]])
    place *= np.sign(place[np.abs(place).argmax(0), [0, 1]])
    kept = values[[-1, -2]].sum() / values[values > 1e-12].sum()
    return {"map.distance": distance, "map.place": place, "map.kept": [kept]}


def save(path, arrays):
    metadata = {"made_by": "tests/data/make_likeness.py", "scipy": scipy.__version__, "seed": str(SEED)}
    header, data = {"__metadata__": metadata}, b""
    for name, array in arrays.items():
        array = np.asarray(array, dtype="<f8")
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "likeness.safetensors")
    rng = np.random.default_rng(SEED)
    made = {**distributions(rng), **trees(rng), **angles(rng), **map_of(rng)}
    save(sys.argv[1] if len(sys.argv) > 1 else beside, made)


main()
