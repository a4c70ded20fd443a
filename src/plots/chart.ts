/** Pictures as plain data: what is drawn, and what is written as JSON beside the drawing. */

export type Chart = LineChart | BarChart | HeatMap;

interface Told {
  /** Above the picture, and its name for screen readers. */
  readonly title: string;
  /** What there is to see, for those who do not see it. */
  readonly description: string;
}

/** `percent`: shares, shown times 100. */
export type NumberForm = "number" | "percent";

/** Values along one or several lines over a number. */
export interface LineChart extends Told {
  readonly kind: "lines";
  readonly x: ChartAxis;
  readonly y: ChartAxis;
  readonly series: readonly LineSeries[];
  /** Horizontal lines to compare with. */
  readonly references?: readonly { readonly name: string; readonly y: number }[];
}

export interface ChartAxis {
  readonly label: string;
  /** Default: number. */
  readonly form?: NumberForm;
  /** Ends of the axis; by default those of the values, and what is near and round. */
  readonly from?: number;
  readonly to?: number;
}

export interface LineSeries {
  readonly name: string;
  /** Drawn in the colour of letters and wider, such as a mean among its parts. */
  readonly strong?: true;
  /** In the order of x. */
  readonly points: readonly LinePoint[];
}

/** With `low` and `high` in all points of a series, a band is drawn between them. */
export interface LinePoint {
  readonly x: number;
  readonly y: number;
  readonly low?: number;
  readonly high?: number;
}

/** Groups of bars, one bar of each group per series. */
export interface BarChart extends Told {
  readonly kind: "bars";
  readonly y: ChartAxis;
  readonly groups: readonly string[];
  /** `values`: one per group; `null` leaves its place free. */
  readonly series: readonly { readonly name: string; readonly values: readonly (number | null)[] }[];
}

/** A table of numbers as colours. */
export interface HeatMap extends Told {
  readonly kind: "heat-map";
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  readonly rowLabel: string;
  readonly columnLabel: string;
  /** `[rows][columns]`; `null` leaves a cell free. */
  readonly values: readonly (readonly (number | null)[])[];
  /** Default: number. */
  readonly form?: NumberForm;
}
