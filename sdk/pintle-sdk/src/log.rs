//! Lines for the operator. The host adds the plugin's name and limits the
//! rate; natively (in tests) they go to standard error.
//!
//! ```
//! use pintle_sdk::log;
//!
//! let replicas = 3;
//! log::info!("wants {replicas} replicas");
//! log::warn!("{} of them are late", 2);
//! ```

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes one line; the macros of this module format and call it.
#[cfg(not(target_arch = "wasm32"))]
pub fn log(level: Level, message: &str) {
    eprintln!("{level:?} {message}");
}

/// Writes one line; the macros of this module format and call it.
#[cfg(target_arch = "wasm32")]
pub fn log(level: Level, message: &str) {
    use crate::bindings::controller::pintle::plugin::log as host;
    let level = match level {
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, message);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($arguments:tt)*) => {
        $crate::log::log($crate::log::Level::Debug, &::std::format!($($arguments)*))
    };
}
/// A line that helps while developing; takes what `format!` takes.
pub use __log_debug as debug;

#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($arguments:tt)*) => {
        $crate::log::log($crate::log::Level::Info, &::std::format!($($arguments)*))
    };
}
/// A line that says what went on; takes what `format!` takes.
pub use __log_info as info;

#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($arguments:tt)*) => {
        $crate::log::log($crate::log::Level::Warn, &::std::format!($($arguments)*))
    };
}
/// A line that somebody should look at; takes what `format!` takes.
pub use __log_warn as warn;

#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($arguments:tt)*) => {
        $crate::log::log($crate::log::Level::Error, &::std::format!($($arguments)*))
    };
}
/// A line that says what failed; takes what `format!` takes. The last one before a
/// trap becomes part of the plugin's status.
pub use __log_error as error;
