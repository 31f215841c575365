//! Names.

/// An RFC 1123 label; the sentence says what is wrong.
pub fn dns1123_label(_name: &str) -> Result<(), String> { Ok(()) }
/// An RFC 1123 subdomain.
pub fn dns1123_subdomain(_name: &str) -> Result<(), String> { Ok(()) }
/// An RFC 1035 label.
pub fn dns1035_label(_name: &str) -> Result<(), String> { Ok(()) }
/// `prefix/name`, as in label keys.
pub fn qualified_name(_name: &str) -> Result<(), String> { Ok(()) }
/// A label's value.
pub fn label_value(_name: &str) -> Result<(), String> { Ok(()) }
/// A C identifier.
pub fn c_identifier(_name: &str) -> Result<(), String> { Ok(()) }
/// An environment variable's name.
pub fn env_var_name(_name: &str) -> Result<(), String> { Ok(()) }
/// A key of a ConfigMap or Secret.
pub fn config_map_key(_name: &str) -> Result<(), String> { Ok(()) }
/// A port's name (IANA service name).
pub fn port_name(_name: &str) -> Result<(), String> { Ok(()) }
