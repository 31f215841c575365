//! The user of a client certificate: CN is the name, every O a group.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::User;

/// Reads the subject of a certificate that TLS has verified already. `None` without a CN: then the client is anonymous.
pub(crate) fn user_of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    if name.is_empty() {
        return None;
    }
    let groups: Vec<String> = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Some(User::new(name, groups))
}
