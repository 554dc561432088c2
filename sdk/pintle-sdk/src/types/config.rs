//! ConfigMaps and Secrets.

use std::collections::BTreeMap;

use pintle_api::meta::ObjectMeta;

use super::partial;
use crate::object::KindRef;

pub const CONFIG_MAP: KindRef = KindRef::new("", "v1", "ConfigMap");
pub const SECRET: KindRef = KindRef::new("", "v1", "Secret");

partial! {
    pub struct ConfigMap = CONFIG_MAP {
        pub metadata: ObjectMeta,
        pub immutable: Option<bool>,
        pub data: BTreeMap<String, String>,
        /// Values in base64.
        pub binary_data: BTreeMap<String, String>,
    }

    pub struct Secret = SECRET {
        pub metadata: ObjectMeta,
        pub immutable: Option<bool>,
        pub r#type: String,
        /// Values in base64.
        pub data: BTreeMap<String, String>,
        /// Plain values, for writing only: the server moves them into `data`.
        pub string_data: BTreeMap<String, String>,
    }
}
