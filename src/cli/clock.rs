//! The time, taken once.

use super::exit::CliError;

/// Seconds since 1970: `SOURCE_DATE_EPOCH` where it is set, for reproducible bundles, or now.
///
/// # Errors
/// With exit code 2 when the variable is not a number of seconds.
pub fn now() -> Result<i64, CliError> {
    let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") else {
        return Ok(jiff::Timestamp::now().as_second());
    };
    let seconds: Option<i64> = text.parse().ok();
    seconds
        .filter(|seconds| *seconds >= 0 && jiff::Timestamp::from_second(*seconds).is_ok())
        .ok_or_else(|| CliError::usage("SOURCE_DATE_EPOCH is not a number of seconds since 1970"))
}
