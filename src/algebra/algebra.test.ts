/** What every operation promises, on random and on awkward matrices. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { MergewrightError } from "../errors.js";
import { openAlgebra } from "./algebra.js";
import {
  apart,
  assertOrthonormalColumns,
  diagonal,
  identity,
  narrow,
  norm,
  product,
  random32,
  random64,
  transpose,
  widen,
  withSingularValues,
} from "./fixtures.test.js";
import type { Matrix64 } from "./matrix.js";
import { signOf } from "./signs.js";

const algebra = openAlgebra();

const side = fc.integer({ min: 1, max: 40 });
const seed = fc.integer({ min: 0, max: 2 ** 30 });
/** Also tiny and huge ones, so that squares under- and overflow. */
const scale = fc.constantFrom(1, 1, 1, 1e-200, 1e200, 1e-310, 1e300);
const scaled = (a: Matrix64, by: number): Matrix64 => ({ ...a, data: a.data.map((value) => value * by) });

/** Full rank, low rank, repeated columns, zeros, graded columns. */
const anyMatrix = (shape: fc.Arbitrary<readonly [number, number]>): fc.Arbitrary<Matrix64> =>
  fc
    .tuple(shape, seed, fc.constantFrom("random", "low rank", "repeated", "zeros", "graded"), scale)
    .map(([[rows, columns], from, kind, by]) => {
      const a = random64(rows, columns, from);
      if (kind === "low rank") return scaled(product(random64(rows, 2, from), random64(2, columns, from + 1)), by);
      const of = (make: (value: number, row: number, column: number) => number): Matrix64 => ({
        ...a,
        data: a.data.map((value, at) => make(value, Math.floor(at / columns), at % columns)),
      });
      if (kind === "repeated")
        return scaled(
          of((_, row) => a.data[row * columns]!),
          by,
        );
      if (kind === "zeros") return of((value, row, column) => (row % 3 === 0 || column % 2 === 0 ? 0 : value));
      if (kind === "graded") return of((value, _, column) => value * 10 ** (-12 * (column / columns)));
      return scaled(a, by);
    });
const tall = fc.tuple(side, side).map(([a, b]) => [Math.max(a, b), Math.min(a, b)] as const);
const anyShape = fc.tuple(side, side);

const largest = ({ data }: Matrix64) => data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
/** Relative to the largest entry, so that nothing overflows. */
function assertClose(found: Matrix64, expected: Matrix64, tolerance: number): void {
  const by = largest(expected) === 0 ? 1 : largest(expected);
  const down = (a: Matrix64) => ({ ...a, data: a.data.map((value) => value / by) });
  // One unit of the subnormals' spacing for matrices that hardly have bits.
  const allowed = (tolerance * norm(down(expected)) + 1e-323 / by) * Math.max(found.rows, found.columns);
  const difference = apart(down(found), down(expected));
  assert.ok(difference <= allowed, `apart by ${difference}, allowed ${allowed}`);
}
const timesDiagonal = (u: Matrix64, s: Float64Array): Matrix64 => ({
  ...u,
  data: u.data.map((value, at) => value * s[at % u.columns]!),
});

describe("multiply", () => {
  it("is the product of matrices, of either or both transposed", () => {
    fc.assert(
      fc.property(side, side, side, seed, fc.boolean(), fc.boolean(), (m, n, k, from, transposeA, transposeB) => {
        const [a, b] = [random32(m, k, from), random32(k, n, from + 1)];
        const expected = product(widen(a), widen(b));
        const left = transposeA ? transpose(widen(a)) : widen(a);
        const right = transposeB ? transpose(widen(b)) : widen(b);
        const how = { transposeA, transposeB };
        assertClose(algebra.multiply64(left, right, how), expected, 1e-15);
        assertClose(widen(algebra.multiply(narrow(left), narrow(right), how)), expected, 1e-6);
      }),
      { numRuns: 60 },
    );
  });

  it("of nothing is nothing, or zeros", () => {
    const none = { rows: 3, columns: 0, data: new Float64Array(0) };
    assert.deepEqual(algebra.multiply64(none, { rows: 0, columns: 2, data: none.data }).data, new Float64Array(6));
    assert.equal(algebra.multiply(random32(2, 3), { rows: 3, columns: 0, data: new Float32Array(0) }).data.length, 0);
  });

  it("carries NaN and infinity as arithmetic does", () => {
    const a = { rows: 1, columns: 2, data: new Float32Array([NaN, 1]) };
    const b = { rows: 1, columns: 2, data: new Float32Array([Infinity, 1]) };
    const ones = { rows: 2, columns: 1, data: new Float32Array([1, 1]) };
    assert.ok(Number.isNaN(algebra.multiply(a, ones).data[0]));
    assert.equal(algebra.multiply(b, ones).data[0], Infinity);
  });
});

describe("qr", () => {
  it("gives orthonormal columns, an upper triangle with a diagonal that is not negative, and A back", () => {
    fc.assert(
      fc.property(anyMatrix(tall), (a) => {
        const { q, r } = algebra.qr(a);
        assertOrthonormalColumns(q);
        assertClose(product(q, r), a, 2e-15);
        for (let row = 0; row < r.rows; row++) {
          assert.ok(r.data[row * r.columns + row]! >= 0);
          for (let column = 0; column < row; column++) assert.equal(r.data[row * r.columns + column], 0);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("goes through several panels", () => {
    const a = random64(300, 130, 7);
    const { q, r } = algebra.qr(a);
    assertOrthonormalColumns(q);
    assertClose(product(q, r), a, 1e-15);
  });

  it("of an upper triangle with a positive diagonal is the identity and itself", () => {
    const r = { rows: 2, columns: 2, data: new Float64Array([2, 3, 0, 5]) };
    assert.deepEqual(algebra.qr(r), { q: identity(2), r });
  });
});

describe("eigenSymmetric", () => {
  const symmetric = ({ rows, data }: Matrix64): Matrix64 => ({
    rows,
    columns: rows,
    data: data.map((value, at) => {
      const [i, j] = [Math.floor(at / rows), at % rows];
      return i >= j ? value : data[j * rows + i]!;
    }),
  });

  it("gives orthonormal vectors, descending values and A back, by the rule of signs", () => {
    fc.assert(
      fc.property(anyMatrix(side.map((n) => [n, n] as const)), (from) => {
        const a = symmetric(from);
        const { values, vectors } = algebra.eigenSymmetric(a);
        assertOrthonormalColumns(vectors);
        assertClose(product(timesDiagonal(vectors, values), transpose(vectors)), a, 4e-15);
        for (let k = 0; k < values.length; k++) {
          assert.ok(k === 0 || values[k - 1]! >= values[k]!);
          assert.equal(signOf(vectors.data, k, vectors.columns, vectors.rows), 1);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("finds the eigenvalues of a chain of springs", () => {
    const n = 50;
    const a = diagonal(new Float64Array(n).fill(2));
    for (let k = 1; k < n; k++) a.data[k * n + k - 1] = -1;
    const { values } = algebra.eigenSymmetric(a);
    for (let k = 0; k < n; k++) {
      const expected = 2 + 2 * Math.cos(((k + 1) * Math.PI) / (n + 1));
      assert.ok(Math.abs(values[k]! - expected) < 1e-14, `${k}: ${values[k]} instead of ${expected}`);
    }
  });

  it("of a diagonal matrix, and of a multiple of the identity, is exact", () => {
    const { values, vectors } = algebra.eigenSymmetric(diagonal([1, 3, -2]));
    assert.deepEqual([...values], [3, 1, -2]);
    assert.deepEqual([...vectors.data], [0, 1, 0, 1, 0, 0, 0, 0, 1]);
    assert.deepEqual(algebra.eigenSymmetric(diagonal([4, 4, 4])).vectors, identity(3));
  });

  it("reads the lower triangle alone", () => {
    const a = random64(9, 9, 3);
    const other = symmetric(a);
    assert.deepEqual(algebra.eigenSymmetric(a), algebra.eigenSymmetric(other));
  });
});

describe("svd", () => {
  it("gives orthonormal vectors on both sides, descending values and A back, by the rule of signs", () => {
    fc.assert(
      fc.property(anyMatrix(anyShape), (a) => {
        const { u, s, vt } = algebra.svd(a);
        const k = Math.min(a.rows, a.columns);
        assert.deepEqual([u.rows, u.columns, s.length, vt.rows, vt.columns], [a.rows, k, k, k, a.columns]);
        assertOrthonormalColumns(u);
        assertOrthonormalColumns(transpose(vt));
        assertClose(product(timesDiagonal(u, s), vt), a, 4e-15);
        for (let i = 0; i < k; i++) {
          assert.ok(s[i]! >= 0 && (i === 0 || s[i - 1]! >= s[i]!));
          assert.equal(signOf(u.data, i, u.columns, u.rows), 1);
        }
      }),
      { numRuns: 200 },
    );
  });

  const spectra: readonly (readonly [string, readonly number[]])[] = [
    ["equal values", [1, 1, 1, 1, 1, 1]],
    ["pairs of equal values", [3, 3, 2, 2, 1, 1]],
    ["a graded spectrum", Array.from({ length: 25 }, (_, k) => 10 ** (-k / 2))],
    ["one dominant value", [1e6, 1, 1, 0.5]],
    ["rank one", [2]],
  ];
  for (const [name, values] of spectra) {
    for (const [rows, columns] of [
      [60, 30],
      [30, 60],
      [33, 33],
    ] as const) {
      it(`finds ${name} of ${rows} x ${columns}`, () => {
        const { s } = algebra.svd(withSingularValues(rows, columns, values));
        for (let k = 0; k < s.length; k++)
          assert.ok(Math.abs(s[k]! - (values[k] ?? 0)) <= 2e-14 * values[0]!, `${k}: ${s[k]}`);
      });
    }
  }

  it("keeps rows and columns of zeros, and zeros on the diagonal of a bidiagonal matrix", () => {
    const a = diagonal([1, 0, 2, 0, 3]);
    for (let k = 0; k < 4; k++) a.data[k * 5 + k + 1] = 1;
    const { u, s, vt } = algebra.svd(a);
    assertClose(product(timesDiagonal(u, s), vt), a, 1e-15);
    assert.equal(norm({ data: algebra.svd(diagonal([0, 0, 0])).s }), 0);
  });

  it("takes f32 matrices as they are", () => {
    const a = random32(20, 12, 5);
    assert.deepEqual(algebra.svd(a), algebra.svd(widen(a)));
  });

  it("of matrices without entries has no triples", () => {
    const { u, s, vt } = algebra.svd({ rows: 0, columns: 3, data: new Float64Array(0) });
    assert.deepEqual([u.rows, u.columns, s.length, vt.rows, vt.columns], [0, 0, 0, 0, 3]);
  });
});

describe("truncatedSvd", () => {
  const tail = (s: Float64Array, rank: number) => norm({ data: s.subarray(rank) }) / norm({ data: s });

  it("has the error of the exact truncation where it factors exactly, and says it", () => {
    fc.assert(
      fc.property(anyShape, seed, (shape, from) => {
        const a = random32(...shape, from);
        const rank = 1 + (from % Math.min(...shape));
        const { s } = algebra.svd(a);
        const found = algebra.truncatedSvd(a, rank);
        assert.ok(Math.abs(found.error - tail(s, rank)) < 3e-7, `${found.error} instead of ${tail(s, rank)}`);
        assert.deepEqual(found.s, s.slice(0, rank));
      }),
      { numRuns: 40 },
    );
  });

  it("by a sketch is nearly as good, and its error is that of its factors", () => {
    const values = Array.from({ length: 150 }, (_, k) => 1 / (1 + k));
    const a = narrow(withSingularValues(200, 150, values));
    const rank = 10;
    const { u, s, vt, error } = algebra.truncatedSvd(a, rank);
    const best = tail(Float64Array.from(values), rank);
    assert.ok(error >= best * (1 - 1e-6) && error < best * 1.01, `${error}, at best ${best}`);
    const back = product(timesDiagonal(widen(u), s), widen(vt));
    assert.ok(Math.abs(apart(back, widen(a)) / norm(a) - error) < 1e-12);
    for (let k = 0; k < rank; k++) assert.ok(Math.abs(s[k]! - values[k]!) < 1e-3 * values[k]!);
  });

  it("of a matrix of that rank leaves rounding, for tall and for wide ones", () => {
    for (const [rows, columns] of [
      [260, 110],
      [110, 260],
    ] as const) {
      const a = narrow(withSingularValues(rows, columns, [5, 4, 3, 2, 1]));
      for (const rank of [5, 8]) {
        const { error, s } = algebra.truncatedSvd(a, rank);
        assert.ok(error < 4e-7 && s.slice(5).every((value) => value < 1e-5), `${error} ${s.join(" ")}`);
      }
    }
  });

  it("more power iterations come nearer where the spectrum is flat", () => {
    const a = random32(220, 200, 9);
    const errors = [0, 1, 4].map((powerIterations) => algebra.truncatedSvd(a, 20, { powerIterations }).error);
    assert.ok(errors[0]! > errors[1]! && errors[1]! > errors[2]!, errors.join(" "));
  });

  it("depends on the seed alone", () => {
    const a = random32(120, 130, 2);
    assert.deepEqual(algebra.truncatedSvd(a, 4, { seed: 5 }), algebra.truncatedSvd(a, 4, { seed: 5 }));
    assert.notDeepEqual(algebra.truncatedSvd(a, 4, { seed: 5 }), algebra.truncatedSvd(a, 4, { seed: 6 }));
  });

  it("of zeros is zeros with error 0", () => {
    for (const side of [5, 150]) {
      const { s, error, u } = algebra.truncatedSvd(
        { rows: side, columns: side, data: new Float32Array(side * side) },
        2,
      );
      assert.deepEqual([...s], [0, 0]);
      assert.equal(error, 0);
      assertOrthonormalColumns(widen(u));
    }
  });

  it("refuses ranks that the matrix cannot have", () => {
    for (const rank of [0, 4, 1.5, NaN]) {
      assert.throws(() => algebra.truncatedSvd(random32(3, 8), rank), { code: "algebra/shape" });
    }
  });
});

describe("cholesky", () => {
  const definite = (n: number, from: number) => {
    const a = random64(n, n + 3, from);
    return product(a, transpose(a));
  };

  it("gives a lower triangle whose product with its transpose is A, and solves", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 150 }), seed, side, (n, from, columns) => {
        const a = definite(n, from);
        const lower = algebra.cholesky(a)!;
        assertClose(product(lower, transpose(lower)), a, 1e-15);
        for (let row = 0; row < n; row++) {
          for (let column = row + 1; column < n; column++) assert.equal(lower.data[row * n + column], 0);
        }
        const b = random64(n, columns, from + 1);
        const x = algebra.solveCholesky(lower, b);
        const residual = apart(product(a, x), b) / (norm(a) * norm(x));
        assert.ok(residual < 1e-14, `residual ${residual}`);
      }),
      { numRuns: 25 },
    );
  });

  it("says null for what is not positive definite, wherever that shows", () => {
    assert.equal(algebra.cholesky(diagonal([1, 0, 1])), null);
    assert.equal(algebra.cholesky(diagonal([1, 2, -1])), null);
    const values = new Float64Array(200).fill(1);
    values[170] = -1e-3;
    assert.equal(algebra.cholesky(diagonal(values)), null);
  });
});

describe("polar", () => {
  it("is U Vᵀ of the singular value decomposition", () => {
    fc.assert(
      fc.property(anyShape, seed, (shape, from) => {
        const [rows, columns] = shape;
        const values = Array.from({ length: Math.min(rows, columns) }, (_, k) => 0.02 + 1 / (1 + k));
        const a = narrow(withSingularValues(rows, columns, values, from));
        const { u, vt } = algebra.svd(a);
        assert.ok(apart(widen(algebra.polar(a)), product(u, vt)) < 1e-4);
      }),
      { numRuns: 40 },
    );
  });

  it("of an orthogonal matrix is itself, times anything positive", () => {
    const q = withSingularValues(
      12,
      12,
      Array.from({ length: 12 }, () => 1),
    );
    for (const by of [1, 1e-30, 1e30]) {
      assert.ok(apart(widen(algebra.polar(narrow(scaled(q, by)))), q) < 1e-5);
    }
  });

  it("of zeros is zeros", () => {
    assert.deepEqual(algebra.polar({ rows: 3, columns: 2, data: new Float32Array(6) }).data, new Float32Array(6));
  });
});

describe("bad input", () => {
  const operations: Record<string, (a: Matrix64) => unknown> = {
    qr: (a) => algebra.qr(a),
    eigenSymmetric: (a) => algebra.eigenSymmetric(a),
    svd: (a) => algebra.svd(a),
    truncatedSvd: (a) => algebra.truncatedSvd(narrow(a), 1),
    cholesky: (a) => algebra.cholesky(a),
    polar: (a) => algebra.polar(narrow(a)),
  };
  for (const [name, run] of Object.entries(operations)) {
    it(`${name} names the entry that is not finite`, () => {
      for (const [value, at] of [
        [NaN, 0],
        [NaN, 5],
        [Infinity, 8],
        [-Infinity, 3],
      ] as const) {
        const a = identity(3);
        a.data[at] = value;
        const place = `${value === -Infinity ? "-Infinity" : value} in row ${Math.floor(at / 3)}, column ${at % 3}`;
        assert.throws(
          () => run(a),
          (error) =>
            error instanceof MergewrightError && error.code === "values/non-finite" && error.message.includes(place),
        );
      }
    });
  }

  it("shapes that do not fit are named", () => {
    const fails = (work: () => unknown, words: RegExp) =>
      assert.throws(
        work,
        (error) => error instanceof MergewrightError && error.code === "algebra/shape" && words.test(error.message),
      );
    fails(() => algebra.multiply(random32(2, 3), random32(2, 3)), /2 x 3 and 2 x 3/);
    fails(() => algebra.qr(random64(2, 3)), /2 x 3/);
    fails(() => algebra.eigenSymmetric(random64(2, 3)), /square/);
    fails(() => algebra.cholesky(random64(2, 3)), /square/);
    fails(() => algebra.solveCholesky(identity(3), random64(2, 3)), /3 x 3 and 2 x 3/);
    fails(() => algebra.svd({ rows: 2, columns: 2, data: new Float64Array(3) }), /3 entries/);
    fails(() => algebra.svd({ rows: 1.5, columns: 2, data: new Float64Array(3) }), /whole numbers/);
  });
});
