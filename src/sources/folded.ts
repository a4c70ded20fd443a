/**
 * What a base with adapters is made of, as plain data that can be posted: each tensor's place, and the terms of its
 * change. adapters/folded_source.ts computes it; adapters/kinds/ says what each kind of adapter means.
 */
import type { FloatDtype } from "../numbers/dtypes.js";
import type { SourceAddress, SourceStamp } from "./source.js";

export interface FoldedLayout {
  readonly files: readonly {
    readonly label: string;
    readonly address: SourceAddress | null;
    readonly stamp: SourceStamp;
  }[];
  /** By first byte, without gaps. */
  readonly tensors: readonly FoldedTensor[];
}

/** A tensor of floats somewhere in one of the files. */
export interface FoldedPart {
  /** Index into `files`. */
  readonly file: number;
  /** First byte in the file. */
  readonly offset: number;
  readonly dtype: FloatDtype;
  readonly entries: number;
}

/** A tensor of an adapter, with what messages call it. */
export interface FoldedValues extends FoldedPart {
  readonly key: string;
  readonly adapter: string;
  readonly module: string;
}

/** Seen as `batch` matrices of rows x columns. */
export interface FoldedTensor {
  readonly name: string;
  /** First byte among the folded weights, which are F32. */
  readonly offset: number;
  readonly batch: number;
  readonly rows: number;
  readonly columns: number;
  /** `null` where only the adapter has the tensor. */
  readonly base: FoldedPart | null;
  readonly terms: readonly FoldedTerm[];
}

/**
 * A factor of a product: entry (batch e, outer index i, rank index k) is at start + e · strides[0] + i · strides[1] +
 * k · strides[2] of the stored values.
 */
export interface Factor {
  readonly values: FoldedValues;
  readonly strides: readonly [batch: number, outer: number, rank: number];
  /** Default 0. Where it is given, other tensors have other parts of the same values. */
  readonly start?: number;
}

/** scale · left · right: left is rows x rank, right is rank x columns, for each matrix of the batch. */
export interface Product {
  readonly scale: number;
  readonly rank: number;
  readonly left: Factor;
  readonly right: Factor;
  /** The product is that of some rows of one matrix alone. */
  readonly block?: { readonly matrix: number; readonly row: number; readonly rows: number };
}

/** One contribution to a change; `weight` is the adapter's. W is the base's entry. */
export type FoldedTerm =
  /** Adds the product; its scale includes the weight. */
  | ({ readonly kind: "product" } & Product)
  /** Adds weight · (m / ‖V‖ · V - W) with V = W + product, the norm over each row, or over each column. */
  | {
      readonly kind: "decomposed";
      readonly weight: number;
      readonly product: Product;
      readonly magnitude: FoldedValues;
      readonly along: Along;
    }
  /**
   * Adds weight · (l - 1) · W; l has an entry for each row, or one for every `repeat` columns. Where it `divides`, the
   * result is divided by 1 + the sum of all such weight · (l - 1) instead.
   */
  | {
      readonly kind: "scaled";
      readonly weight: number;
      readonly divides: boolean;
      readonly vector: FoldedValues;
      readonly along: Along;
      readonly repeat: number;
    }
  /** Adds weight · (values - W). */
  | { readonly kind: "replaced"; readonly weight: number; readonly values: FoldedValues }
  /** The same for some rows: `indices[n]` is the row of the n-th row of values. */
  | {
      readonly kind: "rows";
      readonly weight: number;
      readonly indices: readonly number[];
      readonly values: FoldedValues;
    }
  /** Adds scale · values. */
  | { readonly kind: "added"; readonly scale: number; readonly values: FoldedValues };

/** What has one number of a vector in common: the entries of a row, or those of a column. */
export type Along = "rows" | "columns";
