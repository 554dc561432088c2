//! `Impersonate-*` headers: somebody who may, acts as somebody else.

use std::sync::Arc;

use http::HeaderMap;
use pintle_api::status::StatusError;

use super::authorize;
use crate::ApiServer;
use crate::authz::Attributes;
use crate::user::{ANONYMOUS, User};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";

const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
const GROUP_SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// The user in whose name the request is done.
pub async fn effective(
    server: &ApiServer,
    user: Arc<User>,
    headers: &HeaderMap,
) -> Result<Arc<User>, StatusError> {
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(user);
    }
    let text = |name: &str| -> Result<Option<&str>, StatusError> {
        headers
            .get(name)
            .map(|value| value.to_str())
            .transpose()
            .map_err(|_| StatusError::bad_request(format!("header {name} is not valid text")))
    };
    let Some(name) = text(USER)?.filter(|name| !name.is_empty()) else {
        return Err(StatusError::bad_request(
            "requested groups, uid or extra to impersonate without impersonating a user",
        ));
    };
    let groups: Vec<&str> =
        headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut asked = Attributes::path(&user, "impersonate", "");
    let account = service_account(name);
    (asked.resource, asked.namespace, asked.name) = match account {
        Some((namespace, account)) => ("serviceaccounts", namespace, account),
        None => ("users", "", name),
    };
    authorize(server, &asked).await?;
    asked.namespace = "";
    for group in &groups {
        (asked.resource, asked.name) = ("groups", group);
        authorize(server, &asked).await?;
    }
    let mut effective = match account {
        _ if name == ANONYMOUS && groups.is_empty() => User::anonymous(),
        // What it would be in if it came itself.
        Some((namespace, _)) if groups.is_empty() => {
            let own = format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}");
            User::new(name, [GROUP_SERVICE_ACCOUNTS, own.as_str()])
        }
        _ => User::new(name, groups),
    };
    if let Some(uid) = text(UID)? {
        (asked.group, asked.resource, asked.name) = ("authentication.k8s.io", "uids", uid);
        authorize(server, &asked).await?;
        effective.uid = uid.to_string();
    }
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) else { continue };
        let key = super::path::percent_decode(key, false).unwrap_or(key.into());
        let value = value.to_str().unwrap_or_default();
        let mut asked = asked;
        (asked.group, asked.resource) = ("authentication.k8s.io", "userextras");
        (asked.subresource, asked.name) = (&key, value);
        authorize(server, &asked).await?;
        effective.extra.entry(key.to_string()).or_default().push(value.to_string());
    }
    Ok(Arc::new(effective))
}

/// Namespace and name of the service account that the user is, if it is one.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_accounts_are_users_of_a_certain_name() {
        let check = |user: &str, expect: Option<(&str, &str)>| {
            assert_eq!(service_account(user), expect, "{user}");
        };
        check("system:serviceaccount:shop:robot", Some(("shop", "robot")));
        check("system:serviceaccount:shop:", None);
        check("system:serviceaccount::robot", None);
        check("system:serviceaccount:shop:a:b", None);
        check("jane", None);
    }
}
