//! References of container images: `registry:port/path/name:tag@digest` (source: the grammar of `distribution/reference`).

/// A reference taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image<'a> {
    /// The registry and path, without tag and digest.
    pub(crate) repository: &'a str,
    pub(crate) tag: Option<&'a str>,
    /// With its algorithm: `sha256:...`.
    pub(crate) digest: Option<&'a str>,
}

/// What a reference with neither tag nor digest stands for.
const LATEST: &str = "latest";

impl<'a> Image<'a> {
    /// Takes a reference apart; `None` for what is no reference, such as a digest alone.
    pub(crate) fn parse(reference: &'a str) -> Option<Self> {
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (reference, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return None;
        }
        // A colon before the last slash is that of a port.
        let name_at = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match rest.get(name_at..)?.split_once(':') {
            Some((name, tag)) => (rest.get(..name_at + name.len())?, Some(tag)),
            None => (rest, None),
        };
        let named = !repository.is_empty() && !repository.ends_with('/') && !repository.starts_with('/');
        let sound = repository.bytes().all(|c| c.is_ascii_graphic());
        (named && sound && tag.is_none_or(is_tag)).then_some(Self { repository, tag, digest })
    }

    /// The tag as attributes have it: `latest` where there is neither tag nor digest, and nothing beside a digest alone.
    pub(crate) fn tag_or_latest(self) -> Option<&'a str> {
        self.tag.or(if self.digest.is_none() { Some(LATEST) } else { None })
    }

    /// The version of what the image holds: tag, digest, or `tag@digest`.
    pub(crate) fn version(self) -> Option<String> {
        match (self.tag, self.digest) {
            (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
            (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
            (None, None) => None,
        }
    }
}

/// `repository@digest` from the image id of a container's status, whose scheme (`docker-pullable://`) is left out.
/// `None` for an id without a repository.
pub(crate) fn canonical(image_id: &str) -> Option<String> {
    let reference = image_id.split_once("://").map_or(image_id, |(_, reference)| reference);
    let image = Image::parse(reference)?;
    Some(format!("{}@{}", qualified(image.repository), image.digest?))
}

/// The repository with its registry; without one it is Docker Hub's.
fn qualified(repository: &str) -> String {
    match repository.split_once('/') {
        None => format!("docker.io/library/{repository}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => repository.to_owned(),
        Some(_) => format!("docker.io/{repository}"),
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let first = tag.bytes().next().is_some_and(word);
    first && tag.len() <= 128 && tag.bytes().all(|c| word(c) || matches!(c, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    #[test]
    fn references_are_taken_apart() {
        let with_digest = format!("host:5000/a/b:v1@{DIGEST}");
        for (reference, repository, tag, digest) in [
            ("nginx", "nginx", None, None),
            ("nginx:1.27", "nginx", Some("1.27"), None),
            ("host:5000/a/b", "host:5000/a/b", None, None),
            (with_digest.as_str(), "host:5000/a/b", Some("v1"), Some(DIGEST)),
        ] {
            assert_eq!(Image::parse(reference), Some(Image { repository, tag, digest }), "{reference}");
        }
        for wrong in ["", ":v1", "a/", "/a", "a:", "a:b:c", "a@sha256:12", "a b", DIGEST] {
            assert_eq!(
                Image::parse(wrong).map(|i| i.repository),
                (wrong == DIGEST).then_some("sha256"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn tags_and_versions() {
        let digested = format!("a@{DIGEST}");
        let both = format!("a:v1@{DIGEST}");
        assert_eq!(Image::parse("a").unwrap().tag_or_latest(), Some("latest"));
        assert_eq!(Image::parse(&digested).unwrap().tag_or_latest(), None);
        assert_eq!(Image::parse("a").unwrap().version(), None);
        assert_eq!(Image::parse(&digested).unwrap().version().as_deref(), Some(DIGEST));
        assert_eq!(Image::parse(&both).unwrap().version(), Some(format!("v1@{DIGEST}")));
    }

    #[test]
    fn image_ids_become_canonical_references() {
        for (id, repository) in [
            (format!("docker-pullable://nginx@{DIGEST}"), "docker.io/library/nginx"),
            (format!("quay.io/a/b@{DIGEST}"), "quay.io/a/b"),
            (format!("team/app@{DIGEST}"), "docker.io/team/app"),
            (format!("localhost/app:v1@{DIGEST}"), "localhost/app"),
        ] {
            assert_eq!(canonical(&id), Some(format!("{repository}@{DIGEST}")));
        }
        assert_eq!(canonical(DIGEST), None);
        assert_eq!(canonical("nginx:1"), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser_and_the_parts_make_up_the_whole(text in "[a-z:/@.]{0,40}|\\PC{0,40}") {
            if let Some(image) = Image::parse(&text) {
                let mut whole = image.repository.to_owned();
                whole.extend(image.tag.map(|tag| format!(":{tag}")));
                whole.extend(image.digest.map(|digest| format!("@{digest}")));
                prop_assert_eq!(whole, text);
            }
        }
    }
}
