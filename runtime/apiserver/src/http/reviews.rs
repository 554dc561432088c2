//! Kinds that are questions: who am I, may I. They are answered and not stored.

use http::{Method, Response, StatusCode};
use pintle_api::meta::{GroupResource, GroupVersionKind};
use pintle_api::selector::FieldSelector;
use pintle_api::status::StatusError;
use serde_json::{Value, json};

use super::path::ResourcePath;
use super::{Call, decode, negotiate, respond};
use crate::authz::{Attributes, Decision};
use crate::body::Body;
use crate::user::User;

/// One virtual kind.
pub struct Review {
    pub group: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub namespaced: bool,
}

const fn review(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Review {
    Review { group, kind, plural, singular, namespaced: false }
}

pub const AUTHENTICATION: &str = "authentication.k8s.io";
pub const AUTHORIZATION: &str = "authorization.k8s.io";
pub const VERSION: &str = "v1";

/// All of them, in version v1 of their groups; each can only be created.
pub const REVIEWS: &[Review] = &[
    review(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"),
    Review {
        namespaced: true,
        ..review(
            AUTHORIZATION,
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
        )
    },
    review(
        AUTHORIZATION,
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
    ),
    review(
        AUTHORIZATION,
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
    ),
    review(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"),
];

fn find(path: &ResourcePath<'_>) -> Option<&'static Review> {
    if path.version != VERSION || path.name.is_some() || path.subresource.is_some() {
        return None;
    }
    REVIEWS.iter().find(|review| {
        review.group == path.group
            && review.plural == path.resource
            && review.namespaced == path.namespace.is_some()
    })
}

pub fn serves(path: &ResourcePath<'_>) -> bool {
    find(path).is_some()
}

pub async fn answer(call: &Call<'_>, body: Body) -> Result<Response<Body>, StatusError> {
    let review = find(call.path).ok_or_else(StatusError::no_such_resource)?;
    if call.method != Method::POST {
        let action = call.method.as_str().to_ascii_lowercase();
        return Err(StatusError::method_not_allowed(
            GroupResource::new(review.group, review.plural),
            &action,
        ));
    }
    let wanted = negotiate::wanted(call.headers, negotiate::Place::Objects)?;
    let expected = GroupVersionKind::new(review.group, VERSION, review.kind);
    let bytes = decode::read(body).await?;
    let mut object = decode::object(call.headers, &bytes, &expected)?.value;
    if !object.is_object() {
        return Err(StatusError::bad_request(format!("{} must be an object", review.kind)));
    }
    object["apiVersion"] = expected.api_version().into();
    object["kind"] = review.kind.into();
    object["metadata"] = match call.path.namespace.as_deref() {
        Some(namespace) => json!({"creationTimestamp": null, "namespace": namespace}),
        None => json!({"creationTimestamp": null}),
    };
    object["status"] = match review.kind {
        "SelfSubjectReview" => json!({"userInfo": user_info(call.user)}),
        "SelfSubjectRulesReview" => rules(call, &object["spec"]).await?,
        "SelfSubjectAccessReview" => access(call, call.user, &object["spec"]).await?,
        _ => {
            within(call.path.namespace.as_deref(), &object["spec"])?;
            access(call, &subject(&object["spec"])?, &object["spec"]).await?
        }
    };
    let bytes = serde_json::to_vec(&object).map_err(StatusError::internal)?;
    respond::object(StatusCode::CREATED, bytes.into(), wanted.encoding)
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// The user that a `SubjectAccessReview` is about.
fn subject(spec: &Value) -> Result<User, StatusError> {
    let name = spec["user"].as_str().unwrap_or_default();
    let groups: Vec<&str> =
        spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if name.is_empty() && groups.is_empty() {
        return Err(StatusError::bad_request("at least one of user or groups must be specified"));
    }
    // Exactly the groups that were named: nothing is implied.
    let mut user = User::new(name, groups.iter().copied());
    user.groups.retain(|group| groups.contains(&group.as_str()));
    user.uid = spec["uid"].as_str().unwrap_or_default().to_owned();
    for (key, values) in spec["extra"].as_object().into_iter().flatten() {
        let values = values.as_array().into_iter().flatten().filter_map(Value::as_str);
        user.extra.insert(key.clone(), values.map(str::to_owned).collect());
    }
    Ok(user)
}

/// A `LocalSubjectAccessReview` is about the namespace it is made in.
fn within(namespace: Option<&str>, spec: &Value) -> Result<(), StatusError> {
    let Some(namespace) = namespace else { return Ok(()) };
    let asked = spec.pointer("/resourceAttributes/namespace").and_then(Value::as_str);
    if asked.unwrap_or_default() != namespace {
        return Err(StatusError::bad_request(format!(
            "spec.resourceAttributes.namespace must match namespace: {namespace}"
        )));
    }
    Ok(())
}

/// What a list or watch that is asked about selects. What cannot be read selects
/// nothing, which allows no more.
fn selected(attributes: &Value) -> Option<FieldSelector> {
    let selector = attributes.get("fieldSelector")?;
    if let Some(raw) = selector["rawSelector"].as_str() {
        return FieldSelector::parse(raw).ok();
    }
    let required: Vec<String> = selector["requirements"]
        .as_array()?
        .iter()
        .filter_map(|one| match (one["operator"].as_str()?, one["values"].as_array()?.as_slice()) {
            ("In", [value]) => Some(format!("{}={}", one["key"].as_str()?, value.as_str()?)),
            _ => None,
        })
        .collect();
    FieldSelector::parse(&required.join(",")).ok()
}

async fn access(call: &Call<'_>, user: &User, spec: &Value) -> Result<Value, StatusError> {
    let fields = selected(&spec["resourceAttributes"]);
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let attributes =
        match (spec["resourceAttributes"].is_object(), spec["nonResourceAttributes"].is_object()) {
            (true, false) => Attributes {
                user,
                verb: text("/resourceAttributes/verb"),
                group: text("/resourceAttributes/group"),
                version: text("/resourceAttributes/version"),
                resource: text("/resourceAttributes/resource"),
                subresource: text("/resourceAttributes/subresource"),
                namespace: text("/resourceAttributes/namespace"),
                name: text("/resourceAttributes/name"),
                path: "",
                field_selector: fields.as_ref(),
            },
            (false, true) => Attributes::path(
                user,
                text("/nonResourceAttributes/verb"),
                text("/nonResourceAttributes/path"),
            ),
            _ => {
                return Err(StatusError::bad_request(
                    "exactly one of nonResourceAttributes or resourceAttributes must be specified",
                ));
            }
        };
    Ok(match call.server.authorizer.authorize(&attributes).await {
        Decision::Allow(reason) if reason.is_empty() => json!({"allowed": true}),
        Decision::Allow(reason) => json!({"allowed": true, "reason": reason}),
        Decision::NoOpinion(reason) if reason.is_empty() => json!({"allowed": false}),
        Decision::NoOpinion(reason) => json!({"allowed": false, "reason": reason}),
        Decision::Deny(reason) => json!({"allowed": false, "denied": true, "reason": reason}),
    })
}

async fn rules(call: &Call<'_>, spec: &Value) -> Result<Value, StatusError> {
    let Some(namespace) = spec["namespace"].as_str().filter(|namespace| !namespace.is_empty())
    else {
        return Err(StatusError::bad_request("no namespace on request"));
    };
    let rules = call.server.authorizer.rules(call.user, namespace).await;
    let mut status = json!({
        "resourceRules": rules.resource_rules,
        "nonResourceRules": rules.non_resource_rules,
        "incomplete": !rules.incomplete.is_empty(),
    });
    if !rules.incomplete.is_empty() {
        status["evaluationError"] = rules.incomplete.join(", ").into();
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_may_be_about_selected_objects() {
        let check = |selector: Value, expect: Option<&str>| {
            let found = selected(&json!({ "fieldSelector": selector }));
            let name = found.as_ref().and_then(|fields| fields.required("metadata.name"));
            assert_eq!(name, expect, "{selector}");
        };
        let one = |operator: &str, values: Value| {
            json!({"requirements": [
                {"key": "metadata.name", "operator": operator, "values": values},
            ]})
        };
        check(json!({"rawSelector": "metadata.name=a"}), Some("a"));
        check(json!({"rawSelector": "===,"}), None);
        check(one("In", json!(["a"])), Some("a"));
        check(one("In", json!(["a", "b"])), None);
        check(one("NotIn", json!(["a"])), None);
        check(json!({}), None);
    }
}
