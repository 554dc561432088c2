//! The component interface, generated from `wit/`. Only in guests, only for
//! the export macros; plugins never name anything in here.

#![allow(unsafe_code, missing_docs, clippy::all)]

pub use wit_bindgen::rt;

pub mod controller {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "controller-plugin",
        runtime_path: "::pintle_sdk::bindings::rt",
        pub_export_macro: true,
        export_macro_name: "export_controller_world",
        default_bindings_module: "::pintle_sdk::bindings::controller",
        generate_all,
    });
}

pub mod scheduler {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "scheduler-plugin",
        runtime_path: "::pintle_sdk::bindings::rt",
        pub_export_macro: true,
        export_macro_name: "export_scheduler_world",
        default_bindings_module: "::pintle_sdk::bindings::scheduler",
        with: {
            "pintle:plugin/types@0.1.0": crate::bindings::controller::pintle::plugin::types,
            "pintle:plugin/log@0.1.0": crate::bindings::controller::pintle::plugin::log,
        },
    });
}

pub mod admission {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "admission-plugin",
        runtime_path: "::pintle_sdk::bindings::rt",
        pub_export_macro: true,
        export_macro_name: "export_admission_world",
        default_bindings_module: "::pintle_sdk::bindings::admission",
        with: {
            "pintle:plugin/types@0.1.0": crate::bindings::controller::pintle::plugin::types,
            "pintle:plugin/lister@0.1.0": crate::bindings::controller::pintle::plugin::lister,
            "pintle:plugin/changes@0.1.0": crate::bindings::controller::pintle::plugin::changes,
            "pintle:plugin/log@0.1.0": crate::bindings::controller::pintle::plugin::log,
        },
    });
}

pub mod authorizer {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "authorizer-plugin",
        runtime_path: "::pintle_sdk::bindings::rt",
        pub_export_macro: true,
        export_macro_name: "export_authorizer_world",
        default_bindings_module: "::pintle_sdk::bindings::authorizer",
        with: {
            "pintle:plugin/types@0.1.0": crate::bindings::controller::pintle::plugin::types,
            "pintle:plugin/log@0.1.0": crate::bindings::controller::pintle::plugin::log,
        },
    });
}

pub mod cni {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "cni-plugin",
        runtime_path: "::pintle_sdk::bindings::rt",
        pub_export_macro: true,
        export_macro_name: "export_cni_world",
        default_bindings_module: "::pintle_sdk::bindings::cni",
        with: {
            "pintle:plugin/types@0.1.0": crate::bindings::controller::pintle::plugin::types,
            "pintle:plugin/log@0.1.0": crate::bindings::controller::pintle::plugin::log,
        },
    });
}

pub mod scheduler_extension {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "scheduler-extension-plugin",
        runtime_path: "::pintle_sdk::bindings::rt",
        pub_export_macro: true,
        export_macro_name: "export_scheduler_extension_world",
        default_bindings_module: "::pintle_sdk::bindings::scheduler_extension",
        with: {
            "pintle:plugin/types@0.1.0": crate::bindings::controller::pintle::plugin::types,
            "pintle:plugin/log@0.1.0": crate::bindings::controller::pintle::plugin::log,
        },
    });
}
