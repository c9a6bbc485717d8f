//! What is in a bundle, in the order in which it is in there.
//!
//! The order is a pure function of the root, the lock and the signatures (bundle-spec, "Order of
//! members"). [`Walk`] finds it one document at a time: the writer feeds it documents that it
//! fetched, a reader those that it finds, and both arrive at the same [`Contents`].

use std::collections::{HashMap, HashSet};

use super::root::Root;
use crate::oci::{Descriptor, Digest, Document, DocumentError, media_type};

/// Blobs up to this size in bytes are packed together; larger ones start a frame of their own.
pub const SMALL_BLOB: u64 = 1 << 20;
/// Deepest nesting of indexes below an entry.
const MAX_DEPTH: u32 = 8;
/// Most documents in a bundle.
const MAX_DOCUMENTS: usize = 1 << 20;
/// Most blobs in a bundle.
const MAX_BLOBS: usize = 1 << 24;

/// Where a member stands and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Root, lock and signatures: read before anything is trusted.
    Own,
    /// A manifest or an index of an entry.
    Document,
    /// A blob of at most [`SMALL_BLOB`] bytes.
    Small,
    /// A larger blob that is compressed already.
    Stored,
    /// A larger blob that is worth compressing.
    Compressed,
}

impl Class {
    /// Whether members of this class have frames of their own.
    pub const fn is_large(self) -> bool {
        matches!(self, Self::Stored | Self::Compressed)
    }
}

/// One member of the archive, other than `oci-layout` and `index.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Digest of the content, which is also its name.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Where it stands.
    pub class: Class,
    /// Index into the media types, for documents.
    media_type: u16,
}

/// Index of a member in [`Contents::members`].
pub type MemberId = u32;

/// Everything in a bundle, in canonical order.
#[derive(Debug)]
pub struct Contents {
    members: Vec<Member>,
    /// First and past-last edge of each member; empty for what is no document.
    spans: Vec<(u32, u32)>,
    edges: Vec<MemberId>,
    /// The members of the root's entries, in the root's order.
    entries: Vec<MemberId>,
    media_types: Vec<String>,
    by_digest: HashMap<Digest, MemberId>,
}

/// Why a bundle's graph is refused.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// A document cannot be understood or is not allowed.
    #[error("{digest}: {error}")]
    Document {
        /// The document.
        digest: Digest,
        /// What is wrong with it.
        error: DocumentError,
    },
    /// The content of a document is not what its descriptor says.
    #[error("the content of the document {0} does not have its digest and size")]
    NotItsDigest(Digest),
    /// One digest with two sizes, or one document with two media types.
    #[error("{0} is described in two ways that contradict each other")]
    Contradiction(Digest),
    /// A document larger than any registry takes.
    #[error("the document {0} is larger than 4 MiB")]
    TooLarge(Digest),
    /// Beyond a bound of the format.
    #[error("there are more {0} than the format allows")]
    TooMany(&'static str),
    /// Left out, the lock says, but nothing refers to it.
    #[error("the lock says that {0} was left out, but nothing refers to it")]
    NeverMissed(Digest),
}

struct Node {
    member: Member,
    /// Position among the documents, in the order in which they are read.
    read: Option<u32>,
    span: (u32, u32),
}

/// Finds the canonical order, one document at a time.
pub struct Walk {
    nodes: Vec<Node>,
    by_digest: HashMap<Digest, u32>,
    /// Documents still to be visited, the next one last: node, depth.
    stack: Vec<(u32, u32)>,
    edges: Vec<u32>,
    entries: Vec<u32>,
    own: u32,
    read: u32,
    absent: HashSet<Digest>,
    missed: HashSet<Digest>,
    media_types: Vec<String>,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Walk({} of {} nodes read)", self.read, self.nodes.len())
    }
}

impl Walk {
    /// Starts with the bundle's own members in their order (root, lock, signatures: digest and size,
    /// repetitions allowed), the root, and the digests of what was left out.
    ///
    /// # Errors
    /// When descriptors contradict each other.
    pub fn new(
        own: impl IntoIterator<Item = (Digest, u64)>,
        root: &Root,
        absent: impl IntoIterator<Item = Digest>,
    ) -> Result<Self, ContentsError> {
        let mut walk = Self {
            nodes: Vec::new(),
            by_digest: HashMap::new(),
            stack: Vec::new(),
            edges: Vec::new(),
            entries: Vec::new(),
            own: 0,
            read: 0,
            absent: absent.into_iter().collect(),
            missed: HashSet::new(),
            media_types: vec![String::new()],
        };
        for (digest, size) in own {
            walk.node(digest, size, Class::Own)?;
        }
        walk.own = walk.nodes.len() as u32;
        for entry in &root.entries {
            let node = walk.document(&entry.descriptor)?;
            walk.entries.push(node);
        }
        walk.stack
            .extend(walk.entries.iter().rev().map(|node| (*node, 1)));
        Ok(walk)
    }

    /// The next document in canonical order, of which [`Self::supply`] wants the content; none when
    /// all are known.
    pub fn next_document(&mut self) -> Option<Member> {
        while let Some((node, _)) = self.stack.last() {
            let node = &self.nodes[*node as usize];
            if node.read.is_none() {
                return Some(node.member);
            }
            self.stack.pop();
        }
        None
    }

    /// Media type of a document that [`Self::next_document`] named.
    pub fn media_type(&self, member: &Member) -> &str {
        &self.media_types[usize::from(member.media_type)]
    }

    /// Takes the content of the document that [`Self::next_document`] named.
    ///
    /// # Errors
    /// When the content is not what its descriptor says, or refers to what is not allowed.
    ///
    /// # Panics
    /// When no document is wanted.
    pub fn supply(&mut self, content: &[u8]) -> Result<Document, ContentsError> {
        let (id, depth) = self.stack.pop().expect("next_document named a document");
        let member = self.nodes[id as usize].member;
        let digest = member.digest;
        if content.len() as u64 != member.size || digest.of_same_algorithm(content) != digest {
            return Err(ContentsError::NotItsDigest(digest));
        }
        let document = Document::parse(content, self.media_type(&member))
            .map_err(|error| ContentsError::Document { digest, error })?;
        let first_edge = self.edges.len();
        let mut below = Vec::new();
        for child in document.children() {
            if self.leaves_out(&child.digest) {
                continue;
            }
            let node = self.document(child)?;
            self.edges.push(node);
            below.push((node, depth + 1));
        }
        if depth >= MAX_DEPTH && !below.is_empty() {
            return Err(ContentsError::TooMany("levels of indexes within indexes"));
        }
        self.stack.extend(below.into_iter().rev());
        for blob in document.blobs() {
            if self.leaves_out(&blob.digest) {
                continue;
            }
            let class = if blob.size <= SMALL_BLOB {
                Class::Small
            } else if media_type::is_stored(&blob.media_type) {
                Class::Stored
            } else {
                Class::Compressed
            };
            let node = self.node(blob.digest, blob.size, class)?;
            self.edges.push(node);
        }
        if self.edges.len() > u32::MAX as usize {
            return Err(ContentsError::TooMany("references"));
        }
        let node = &mut self.nodes[id as usize];
        node.read = Some(self.read);
        node.span = (first_edge as u32, self.edges.len() as u32);
        self.read += 1;
        Ok(document)
    }

    /// Ends the walk.
    ///
    /// # Errors
    /// When the lock names something as left out that nothing refers to.
    pub fn finish(self) -> Result<Contents, ContentsError> {
        if let Some(digest) = self.absent.difference(&self.missed).min() {
            return Err(ContentsError::NeverMissed(*digest));
        }
        let mut order: Vec<u32> = (0..self.nodes.len() as u32).collect();
        // Stable: within a class, the order of first reference stays; documents have the order in
        // which they were read.
        order.sort_by_key(|id| {
            let node = &self.nodes[*id as usize];
            (
                node.member.class,
                node.read.filter(|_| node.member.class == Class::Document),
            )
        });
        let mut places = vec![0; order.len()];
        for (place, id) in order.iter().enumerate() {
            places[*id as usize] = place as u32;
        }
        let node = |id: &u32| &self.nodes[*id as usize];
        let relocate = |id: u32| places[id as usize];
        Ok(Contents {
            members: order.iter().map(|id| node(id).member).collect(),
            spans: order.iter().map(|id| node(id).span).collect(),
            edges: self.edges.into_iter().map(relocate).collect(),
            entries: self.entries.into_iter().map(relocate).collect(),
            media_types: self.media_types,
            by_digest: self
                .by_digest
                .into_iter()
                .map(|(d, id)| (d, relocate(id)))
                .collect(),
        })
    }

    fn leaves_out(&mut self, digest: &Digest) -> bool {
        if self.absent.contains(digest) {
            self.missed.insert(*digest);
            return true;
        }
        false
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<u32, ContentsError> {
        let digest = descriptor.digest;
        if descriptor.size > crate::oci::MAX_DOCUMENT_BYTES as u64 {
            return Err(ContentsError::TooLarge(digest));
        }
        let known = self
            .media_types
            .iter()
            .position(|known| *known == descriptor.media_type);
        let media_type = match known {
            Some(position) => position,
            None => {
                self.media_types.push(descriptor.media_type.clone());
                self.media_types.len() - 1
            }
        };
        let media_type =
            u16::try_from(media_type).map_err(|_| ContentsError::TooMany("media types"))?;
        let id = self.node(digest, descriptor.size, Class::Document)?;
        let member = &mut self.nodes[id as usize].member;
        if member.class == Class::Own {
            // The bundle's own documents are no part of an entry.
            return Err(ContentsError::Contradiction(digest));
        }
        // What was known as a blob until now stands among the documents after all.
        member.class = Class::Document;
        if member.media_type == 0 {
            member.media_type = media_type;
        } else if member.media_type != media_type {
            return Err(ContentsError::Contradiction(digest));
        }
        Ok(id)
    }

    fn node(&mut self, digest: Digest, size: u64, class: Class) -> Result<u32, ContentsError> {
        if let Some(id) = self.by_digest.get(&digest) {
            if self.nodes[*id as usize].member.size != size {
                return Err(ContentsError::Contradiction(digest));
            }
            return Ok(*id);
        }
        let most = if class == Class::Document {
            MAX_DOCUMENTS
        } else {
            MAX_BLOBS
        };
        if self.nodes.len() >= most {
            return Err(ContentsError::TooMany("members"));
        }
        let id = self.nodes.len() as u32;
        let member = Member {
            digest,
            size,
            class,
            media_type: 0,
        };
        self.nodes.push(Node {
            member,
            read: None,
            span: (0, 0),
        });
        self.by_digest.insert(digest, id);
        Ok(id)
    }
}

impl Contents {
    /// All members but `oci-layout` and `index.json`, in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One member.
    pub fn member(&self, id: MemberId) -> &Member {
        &self.members[id as usize]
    }

    /// Finds a member by its digest.
    pub fn find(&self, digest: &Digest) -> Option<MemberId> {
        self.by_digest.get(digest).copied()
    }

    /// The member of each entry of the root, in the root's order.
    pub fn entries(&self) -> &[MemberId] {
        &self.entries
    }

    /// Media type of a document; empty for a blob.
    pub fn media_type(&self, id: MemberId) -> &str {
        &self.media_types[usize::from(self.member(id).media_type)]
    }

    /// What a document refers to, as far as it is in the bundle: children, or config and layers,
    /// repetitions included.
    pub fn references(&self, id: MemberId) -> &[MemberId] {
        let (first, last) = self.spans[id as usize];
        &self.edges[first as usize..last as usize]
    }

    /// Everything that hangs on `top`, itself included, each once, what is referred to before what
    /// refers to it: the order in which a registry takes it.
    pub fn closure(&self, top: MemberId) -> Vec<MemberId> {
        let mut order = Vec::new();
        let mut seen = HashSet::from([top]);
        let mut stack = vec![(top, 0)];
        while let Some((id, next)) = stack.last_mut() {
            match self.references(*id).get(*next) {
                None => {
                    order.push(*id);
                    stack.pop();
                }
                Some(child) => {
                    *next += 1;
                    if seen.insert(*child) {
                        stack.push((*child, 0));
                    }
                }
            }
        }
        order
    }
}
