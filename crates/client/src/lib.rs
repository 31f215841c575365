//! What every part above the Kubernetes API shares: [`Informers`], one cache per kind for the whole process, and
//! [`Driver`], the one loop that runs reconcilers.
//!
//! Nothing here knows where the API server is: the [`kube::Client`] may be the in-process service of the embedded
//! cluster or a connection to k3s, k0s or EKS.

mod driver;
mod informer;
mod key;

pub use driver::{Driver, Next, Reconciler};
pub use informer::{Change, Informer, Informers, Object};
pub use key::Key;
