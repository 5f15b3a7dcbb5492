//! The limits of the format, each with its source.
//!
//! What lives here: numbers that AWS sets and the few that this crate sets for itself. What may not: code.
//!
//! Invariant: the worst frame that a recorder can build, with one metric at its longest, fits on one line; so splitting
//! always succeeds there.
//!
//! Sources: *spec* is "Specification: Embedded metric format" in the CloudWatch user guide, *schema* the JSON Schema in
//! it, *API* the CloudWatch API reference.

/// Metric definitions in one directive (spec).
pub const METRICS_PER_LINE_MAX: usize = 100;

/// Values of one metric on one line (spec).
pub const VALUES_PER_METRIC_MAX: usize = 100;

/// Keys in one dimension set (spec, schema).
pub const DIMENSIONS_PER_SET_MAX: usize = 30;

/// Characters in the name of a dimension (schema).
pub const DIMENSION_NAME_CHARS_MAX: usize = 250;

/// Characters in the value of a dimension (spec; API `Dimension`). Longer values are cut.
pub const DIMENSION_VALUE_CHARS_MAX: usize = 1024;

/// Characters in the name of a metric (schema). The API's `MetricDatum` stops at 255: keep well below both.
pub const METRIC_NAME_CHARS_MAX: usize = 1024;

/// Characters in a namespace (schema).
pub const NAMESPACE_CHARS_MAX: usize = 1024;

/// Bytes of one line, the newline not counted: 1 MB (spec: as any CloudWatch Logs event), read as the smaller megabyte.
pub const LINE_BYTES_MAX: usize = 1_000_000;

/// Bytes beyond which a line takes no further metric. Some editions of the spec still say 256 KB for an event, and
/// splitting costs little. Only a line whose dimensions and properties fill half of this by themselves may be longer.
pub const LINE_BYTES_AIM: usize = 256_000;

/// Magnitude of a value: 2 to the 360th (API `MetricDatum`), which also refuses NaN and the infinities.
pub const VALUE_MAGNITUDE_MAX: f64 = f64::from_bits((1023 + 360) << 52);

/// The most that one flush takes from a counter: 2 to the 53rd, up to which `f64` counts exactly. The rest stays for the
/// next flush.
pub const COUNTER_STEP_MAX: u64 = 1 << 53;

/// Dimension sets for one metric. Our own limit: each set is billed as a metric of its own.
pub const SETS_PER_METRIC_MAX: usize = 10;

/// Bytes of the longest number that a value is written as (`-1.2345678901234567e-308` and a comma).
const VALUE_BYTES_MAX: usize = 25;

/// Bytes that one character of a name or dimension value takes in JSON: printable ASCII, at worst escaped.
const CHAR_BYTES_MAX: usize = 2;

/// Bytes of quotes, commas, colons and fixed keys around one member, generously.
const PUNCTUATION_BYTES_MAX: usize = 64;

/// Bytes of one metric at its longest: its definition and its values.
const METRIC_BYTES_MAX: usize =
    2 * (METRIC_NAME_CHARS_MAX * CHAR_BYTES_MAX + PUNCTUATION_BYTES_MAX) + VALUES_PER_METRIC_MAX * VALUE_BYTES_MAX;

/// Bytes of everything else on a recorder's line when it carries no property.
const FRAME_BYTES_MAX: usize = NAMESPACE_CHARS_MAX * CHAR_BYTES_MAX
    + 4 * PUNCTUATION_BYTES_MAX
    + DIMENSIONS_PER_SET_MAX
        * (SETS_PER_METRIC_MAX + 1)
        * (DIMENSION_NAME_CHARS_MAX * CHAR_BYTES_MAX + PUNCTUATION_BYTES_MAX)
    + DIMENSIONS_PER_SET_MAX * DIMENSION_VALUE_CHARS_MAX * CHAR_BYTES_MAX;

const _: () = assert!(FRAME_BYTES_MAX + METRIC_BYTES_MAX < LINE_BYTES_MAX);
const _: () = assert!(METRIC_BYTES_MAX < LINE_BYTES_AIM && LINE_BYTES_AIM < LINE_BYTES_MAX);
const _: () = assert!(COUNTER_STEP_MAX == 1 << f64::MANTISSA_DIGITS);
