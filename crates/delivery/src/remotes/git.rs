//! Bases in other Git repositories: read from bare copies, never checked out.

use gix::ObjectId;
use reqwest::Url;

use super::{
    Origin, address,
    keep::{Facts, hex_sha256},
    lock, remember, remembered,
    session::{Question, Session, key},
};
use crate::{
    Error,
    git::{self, CommitTree, Credentials, Location, Mirror, redacted},
};

/// What a Git client asks first.
const TAIL: &str = "/info/refs?service=git-upload-pack";
/// Copies of bases may be this large.
const MAX_BYTES: u64 = 2 << 30;

impl Session {
    /// The files of a repository at a reference; without one at its default branch.
    pub fn repository(&self, repository: &str, reference: Option<&str>) -> Result<CommitTree, Error> {
        let reference = reference.unwrap_or("HEAD");
        let (opened, id) = self.commit(repository, reference)?;
        let tree = CommitTree::new(&opened, &redacted(repository), id)?;
        if !is_commit(reference) {
            let question = Question::Commit { repository: repository.to_owned(), reference: reference.to_owned() };
            self.pin(question, id.to_string());
        }
        Ok(tree)
    }

    /// Which commit a reference is, and the copy to read it from.
    pub(super) fn commit(&self, repository: &str, reference: &str) -> Result<(gix::Repository, ObjectId), Error> {
        let failed = |message: String| Error::Repository { url: redacted(repository), message };
        match Location::parse(repository) {
            // Such an error is about the field of an Application.
            Err(Error::InvalidSpec { message, .. }) => Err(failed(message)),
            Err(error) => Err(error),
            Ok(Location::Plain(_) | Location::Local(_)) if self.origin == Origin::Elsewhere => Err(failed(
                "is a path of this machine, and the source comes from another one; name a repository by its URL"
                    .to_owned(),
            )),
            Ok(Location::Plain(_)) => Err(failed("is no Git repository".to_owned())),
            Ok(Location::Local(path)) => {
                let opened = git::open(&path, repository)?;
                let id = git::resolve_local(&opened, repository, reference)?;
                Ok((opened, id))
            }
            Ok(Location::Remote(url)) => self.remote_commit(&url, reference),
        }
    }

    fn remote_commit(&self, url: &str, reference: &str) -> Result<(gix::Repository, ObjectId), Error> {
        let credentials = self.credentials(url);
        let who = match &credentials {
            Some(Credentials::Password { username, password }) => format!("{username}\n{password}"),
            Some(Credentials::SshKey(key)) => key.clone(),
            None => String::new(),
        };
        let known = key(&["commit", url, reference], Some(&who));
        // Copies that one may read are not there for others.
        let directory = self.remotes.shared.directory.join("git").join(hex_sha256(who.as_bytes()).split_at(16).0);
        let gate = self.gate(&format!("{url} {who}"));
        let _turn = lock(&gate);
        let mirror =
            Mirror::new(&directory, url, credentials.clone()).limited(MAX_BYTES).trusting(&self.remotes.shared.trust);
        let commits = &self.remotes.shared.commits;
        let immutable = is_commit(reference).then(|| reference.to_owned());
        if let Some(id) = immutable.or_else(|| remembered(commits, &known).map(|id| id.to_string()))
            && let Ok(found) = mirror.resolve_kept(&id)
        {
            return Ok(found);
        }
        if let Err(offline) = self.online(url) {
            let kept = self.keep().read(&known).and_then(|(_, id)| String::from_utf8(id).ok());
            return kept.and_then(|id| mirror.resolve_kept(&id).ok()).ok_or(offline);
        }
        self.check_host(url, credentials.is_some())?;
        let found = match self.moved(url)? {
            None => mirror.resolve(reference)?,
            Some(moved) => mirror.at(&moved, self.credentials(&moved)).resolve(reference)?,
        };
        let id = found.1.to_string();
        self.write(&known, &Facts { sha256: hex_sha256(id.as_bytes()), ..Facts::default() }, id.as_bytes())?;
        remember(commits, &known, url, found.1, self.poll());
        Ok(found)
    }

    /// Addresses and programs that are not for everybody.
    fn check_host(&self, url: &str, has_credentials: bool) -> Result<(), Error> {
        let failed = |message: String| Error::Repository { url: redacted(url), message };
        let parsed = gix::url::parse(url).map_err(|_| failed("is not a URL".to_owned()))?;
        let is_ssh = parsed.scheme == gix::url::Scheme::Ssh;
        if is_ssh && !has_credentials && !self.remotes.shared.own_ssh {
            return Err(failed(
                "bases behind ssh are read with the key of a Secret, and there is none for this URL (docs/deliver.md)"
                    .to_owned(),
            ));
        }
        let port = parsed.port.unwrap_or(if is_ssh { 22 } else { 443 });
        parsed.host().map_or(Ok(()), |host| address::check_host(host, port)).map_err(failed)
    }

    /// Where the repository has moved to, if its server redirects. Git itself follows no redirects: here each step is checked.
    fn moved(&self, url: &str) -> Result<Option<String>, Error> {
        if !url.starts_with("http") {
            return Ok(None);
        }
        let first = format!("{}{TAIL}", url.trim_end_matches('/'));
        let mut request = self.request(&first, None, 0);
        request.headers.push(("git-protocol", "version=2".to_owned()));
        let last = self.web()?.location(&request)?;
        let unchanged = Url::parse(&first).is_ok_and(|mut first| {
            let _ = first.set_username("");
            let _ = first.set_password(None);
            first == last
        });
        if unchanged {
            return Ok(None);
        }
        match last.as_str().strip_suffix(TAIL) {
            Some(moved) => Ok(Some(moved.to_owned())),
            None => Err(Error::Repository {
                url: redacted(url),
                message: format!("it redirects to {}, which is no Git repository", redacted(last.as_str())),
            }),
        }
    }
}

/// A full hash, whose meaning cannot change.
fn is_commit(reference: &str) -> bool {
    ObjectId::from_hex(reference.as_bytes()).is_ok()
}
