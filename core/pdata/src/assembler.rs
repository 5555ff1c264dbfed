//! Writes nested messages whose lengths are known only after their content.

use bytes::Bytes;

use crate::memory::Account;
use crate::wire::{len_field_size, put_varint};

/// A position in an [`Assembler`] to roll back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pieces: usize,
    depth: usize,
    /// Length of the content of the innermost message.
    len: usize,
}

#[derive(Debug)]
enum Piece<C> {
    /// A message begins: its key and the length of its content, set at its end.
    Begin {
        key: u32,
        len: usize,
    },
    Copy(C),
}

#[derive(Debug)]
struct Open {
    /// Index of the `Begin` among the pieces.
    piece: usize,
    key: u32,
    /// Length of the content so far.
    len: usize,
}

/// Collects what a message will consist of and then writes it in one go, into memory of exactly its size.
#[derive(Debug)]
pub(crate) struct Assembler<C> {
    pieces: Vec<Piece<C>>,
    open: Vec<Open>,
    len: usize,
}

impl<C: AsRef<[u8]>> Assembler<C> {
    pub(crate) fn new() -> Self {
        Self { pieces: Vec::new(), open: Vec::new(), len: 0 }
    }

    /// Begins an embedded message.
    pub(crate) fn begin(&mut self, key: u32) {
        self.open.push(Open { piece: self.pieces.len(), key, len: 0 });
        self.pieces.push(Piece::Begin { key, len: 0 });
    }

    /// Appends bytes to the innermost message.
    pub(crate) fn copy(&mut self, content: C) {
        let len = content.as_ref().len();
        if len == 0 {
            return;
        }
        *self.innermost() += len;
        self.pieces.push(Piece::Copy(content));
    }

    /// Ends the innermost message.
    pub(crate) fn end(&mut self) {
        let Some(ended) = self.open.pop() else { return };
        if let Some(Piece::Begin { len, .. }) = self.pieces.get_mut(ended.piece) {
            *len = ended.len;
        }
        *self.innermost() += len_field_size(ended.key, ended.len);
    }

    fn innermost(&mut self) -> &mut usize {
        self.open.last_mut().map_or(&mut self.len, |open| &mut open.len)
    }

    /// How many messages are open.
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// The size of everything if all open messages ended after `extra` more bytes in the innermost one.
    pub(crate) fn len_with(&self, extra: usize) -> usize {
        let inner =
            self.open.iter().rev().fold(extra, |inner, open| len_field_size(open.key, open.len + inner));
        self.len + inner
    }

    /// Marks the present state for [`Assembler::roll_back`].
    pub(crate) fn mark(&self) -> Mark {
        let len = self.open.last().map_or(self.len, |open| open.len);
        Mark { pieces: self.pieces.len(), depth: self.open.len(), len }
    }

    /// Takes back everything since the mark. The messages open at the mark must not have been ended since.
    pub(crate) fn roll_back(&mut self, mark: Mark) {
        self.pieces.truncate(mark.pieces);
        self.open.truncate(mark.depth);
        *self.innermost() = mark.len;
    }

    /// Writes everything, ending what is still open.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.end();
        }
        let mut out = Vec::with_capacity(self.len);
        for piece in &self.pieces {
            match piece {
                Piece::Begin { key, len } => {
                    put_varint(&mut out, u64::from(*key));
                    put_varint(&mut out, *len as u64);
                }
                Piece::Copy(content) => out.extend_from_slice(content.as_ref()),
            }
        }
        out
    }
}

impl Assembler<Bytes> {
    /// [`Assembler::finish`] as a segment, which is charged to the process.
    pub(crate) fn finish_segment(self) -> Bytes {
        Account::process().segment(self.finish())
    }

    /// Like [`Assembler::finish`], without a copy if there is but one range of bytes.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if let [Piece::Copy(content)] = self.pieces.as_mut_slice() {
            return std::mem::take(content);
        }
        self.finish_segment()
    }
}
