use serde_json::Value;

use super::token::Claims;

const ADMIN: &str = "admin";

/// Whether the issuer gave the role `admin`: as `role`, in `roles`, or in either of `app_metadata`.
///
/// Never from `user_metadata`, which users write themselves.
pub(super) fn is_admin(claims: &Claims) -> bool {
    let metadata = |name| claims.app_metadata.get(name).unwrap_or(&Value::Null);
    names_admin(&claims.role)
        || lists_admin(&claims.roles)
        || names_admin(metadata("role"))
        || lists_admin(metadata("roles"))
}

fn names_admin(role: &Value) -> bool {
    role == ADMIN
}

fn lists_admin(roles: &Value) -> bool {
    roles
        .as_array()
        .is_some_and(|roles| roles.iter().any(names_admin))
}
