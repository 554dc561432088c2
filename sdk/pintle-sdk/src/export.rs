//! The macros that turn a type into a component. On any target but wasm they
//! only check that the type has the role's trait.

/// Exports a [`Controller`](crate::Controller) as this component.
#[macro_export]
macro_rules! export_controller {
    ($plugin:ty) => {
        $crate::__export_role!($plugin, controller, Controller, export_controller_world, {
            fn describe(
                config: ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<exports::Description, ::std::string::String> {
                INSTANCE.with(|slot| glue::describe(slot, &config))
            }
            fn reconcile(
                context: glue::WitContext,
                request: exports::Request,
            ) -> ::core::result::Result<exports::Outcome, ::std::string::String> {
                INSTANCE.with(|slot| glue::reconcile(slot, context, request))
            }
        });
    };
}

/// Exports a [`Scheduler`](crate::Scheduler) as this component.
#[macro_export]
macro_rules! export_scheduler {
    ($plugin:ty) => {
        $crate::__export_role!($plugin, scheduler, Scheduler, export_scheduler_world, {
            fn describe(
                config: ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<exports::Description, ::std::string::String> {
                INSTANCE.with(|slot| glue::describe(slot, &config))
            }
            fn sync(deltas: ::std::vec::Vec<glue::WitDelta>) {
                INSTANCE.with(|slot| glue::sync(slot, deltas))
            }
            fn schedule(
                context: glue::WitContext,
                pods: ::std::vec::Vec<glue::WitObject>,
            ) -> ::std::vec::Vec<exports::Decision> {
                INSTANCE.with(|slot| glue::schedule(slot, context, pods))
            }
            fn forget(pod_uids: ::std::vec::Vec<::std::string::String>) {
                INSTANCE.with(|slot| glue::forget(slot, pod_uids))
            }
        });
    };
}

/// Exports a [`SchedulerExtension`](crate::SchedulerExtension) as this component.
#[macro_export]
macro_rules! export_scheduler_extension {
    ($plugin:ty) => {
        $crate::__export_role!(
            $plugin,
            scheduler_extension,
            SchedulerExtension,
            export_scheduler_extension_world,
            {
                fn describe(
                    config: ::std::vec::Vec<u8>,
                ) -> ::core::result::Result<exports::Description, ::std::string::String> {
                    INSTANCE.with(|slot| glue::describe(slot, &config))
                }
                fn sync_nodes(nodes: ::std::vec::Vec<exports::NumberedNode>) {
                    INSTANCE.with(|slot| glue::sync_nodes(slot, nodes))
                }
                fn sync(deltas: ::std::vec::Vec<glue::WitDelta>) {
                    INSTANCE.with(|slot| glue::sync(slot, deltas))
                }
                fn filter(
                    context: glue::WitContext,
                    pod: glue::WitObject,
                ) -> ::std::vec::Vec<exports::Rejection> {
                    INSTANCE.with(|slot| glue::filter(slot, context, pod))
                }
                fn score(context: glue::WitContext, pod: glue::WitObject) -> ::std::vec::Vec<u8> {
                    INSTANCE.with(|slot| glue::score(slot, context, pod))
                }
            }
        );
    };
}

/// Exports a [`NodeRule`](crate::NodeRule) as this component.
#[macro_export]
macro_rules! export_node_rule {
    ($rule:ty) => {
        $crate::export_scheduler_extension!($crate::node_rule::NodeTable<$rule>);
    };
}

/// Exports an [`Admission`](crate::Admission) as this component.
#[macro_export]
macro_rules! export_admission {
    ($plugin:ty) => {
        $crate::__export_role!($plugin, admission, Admission, export_admission_world, {
            fn describe(
                config: ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<exports::Description, ::std::string::String> {
                INSTANCE.with(|slot| glue::describe(slot, &config))
            }
            fn review(context: glue::WitContext, request: exports::Request) -> exports::Response {
                INSTANCE.with(|slot| glue::review(slot, context, request))
            }
        });
    };
}

/// Exports an [`Authorizer`](crate::Authorizer) as this component.
#[macro_export]
macro_rules! export_authorizer {
    ($plugin:ty) => {
        $crate::__export_role!($plugin, authorizer, Authorizer, export_authorizer_world, {
            fn describe(
                config: ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<exports::Description, ::std::string::String> {
                INSTANCE.with(|slot| glue::describe(slot, &config))
            }
            fn sync(deltas: ::std::vec::Vec<glue::WitDelta>) {
                INSTANCE.with(|slot| glue::sync(slot, deltas))
            }
            fn authorize(
                context: glue::WitContext,
                attributes: exports::Attributes,
            ) -> exports::Decision {
                INSTANCE.with(|slot| glue::authorize(slot, context, attributes))
            }
            fn rules(
                context: glue::WitContext,
                user: exports::User,
                namespace: ::std::string::String,
            ) -> exports::RuleSet {
                INSTANCE.with(|slot| glue::rules(slot, context, user, &namespace))
            }
        });
    };
}

/// Exports a [`Cni`](crate::Cni) as this component.
#[macro_export]
macro_rules! export_cni {
    ($plugin:ty) => {
        $crate::__export_role!($plugin, cni, Cni, export_cni_world, {
            fn describe(
                config: ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<exports::Description, ::std::string::String> {
                INSTANCE.with(|slot| glue::describe(slot, &config))
            }
            fn add(
                context: glue::WitContext,
                node: exports::Node,
                sandbox: exports::Sandbox,
                reserved: ::std::vec::Vec<exports::Reservation>,
            ) -> ::core::result::Result<exports::AddResult, ::std::string::String> {
                INSTANCE.with(|slot| glue::add(slot, context, node, sandbox, reserved))
            }
            fn del(
                context: glue::WitContext,
                node: exports::Node,
                sandbox: exports::Sandbox,
            ) -> ::core::result::Result<::std::vec::Vec<exports::NetOp>, ::std::string::String>
            {
                INSTANCE.with(|slot| glue::del(slot, context, node, sandbox))
            }
            fn check(
                context: glue::WitContext,
                node: exports::Node,
                sandbox: exports::Sandbox,
                addresses: ::std::vec::Vec<::std::string::String>,
            ) -> ::core::result::Result<::std::vec::Vec<exports::NetOp>, ::std::string::String>
            {
                INSTANCE.with(|slot| glue::check(slot, context, node, sandbox, addresses))
            }
            fn nodes_changed(
                context: glue::WitContext,
                node: exports::Node,
                before: ::std::vec::Vec<exports::Peer>,
                now: ::std::vec::Vec<exports::Peer>,
            ) -> ::core::result::Result<::std::vec::Vec<exports::NetOp>, ::std::string::String>
            {
                INSTANCE.with(|slot| glue::nodes_changed(slot, context, node, before, now))
            }
        });
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_role {
    ($plugin:ty, $role:ident, $trait:ident, $export:ident, { $($functions:tt)* }) => {
        const _: fn() = || {
            fn has_the_role<T: $crate::$trait>() {}
            has_the_role::<$plugin>();
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        mod pintle_component {
            use super::*;
            use $crate::bindings::$role::exports::pintle::plugin::$role as exports;
            use $crate::glue::$role as glue;

            // A component instance has one thread.
            ::std::thread_local! {
                static INSTANCE: $crate::glue::Slot<$plugin> = const { $crate::glue::Slot::new() };
            }

            struct Component;

            impl exports::Guest for Component {
                $($functions)*
            }

            $crate::bindings::$role::$export!(Component with_types_in $crate::bindings::$role);
        }
    };
}
