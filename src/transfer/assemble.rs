//! The bytes of one range, on their way from the connection to the writer.
//!
//! At the frontier, the lowest byte the file lacks, they are collected in blocks while they are in
//! the CPU's cache. Ahead of it, and in small files, they are passed on as they come.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::active::Active;
use super::schedule::Segment;
use crate::store::admission::{Admission, Permit, Position};
use crate::store::block::Block;
use crate::store::writer::Payload;

/// The file is over: nobody takes its bytes any more.
#[derive(Debug)]
pub(super) struct Over;

pub(super) struct Assembler<'a> {
    admission: &'a Arc<Admission>,
    file: &'a Active,
    segment: &'a Segment,
    payloads: mpsc::Sender<Payload>,
    /// Bytes from the frontier that do not fill a block yet.
    block: Option<Block>,
}

impl<'a> Assembler<'a> {
    /// `None` once the file is over.
    pub(super) fn new(admission: &'a Arc<Admission>, file: &'a Active, segment: &'a Segment) -> Option<Self> {
        Some(Self { admission, file, segment, payloads: file.payloads()?, block: None })
    }

    /// Takes the bytes that follow those before.
    pub(super) async fn take(&mut self, offset: u64, bytes: Bytes) -> Result<(), Over> {
        // A block that was begun goes on: it has no room for gaps.
        if self.block.is_none()
            && let Some(permit) = self.permit(bytes.len()).await?
        {
            return self.send(Payload::Chunk { offset, bytes, _permit: permit }).await;
        }
        self.collect(offset, bytes).await
    }

    /// Passes on what is left.
    pub(super) async fn close(mut self) {
        if let Some(block) = self.block.take() {
            // Without a writer the file is over.
            let _ = self.send(Payload::Block(block)).await;
        }
    }

    /// A permit for bytes ahead of the frontier; `None` for those at it.
    async fn permit(&self, bytes: usize) -> Result<Option<Permit>, Over> {
        let (file, segment) = (self.file, self.segment);
        match place(file, segment) {
            Position::Frontier => return Ok(None),
            Position::Ahead => {
                let permit = self.admission.try_enter(bytes);
                self.admission.note(permit.is_none());
                if permit.is_some() {
                    return Ok(permit);
                }
            }
            Position::TooFarAhead => {}
        }
        self.wait(self.admission.enter(bytes, || place(file, segment))).await
    }

    async fn collect(&mut self, mut offset: u64, mut bytes: Bytes) -> Result<(), Over> {
        while !bytes.is_empty() {
            let mut block = match self.block.take() {
                Some(block) => block,
                None => self.empty_block(offset).await?,
            };
            let taken = block.append(&bytes);
            bytes.advance(taken);
            offset += taken as u64;
            if block.is_full() {
                self.send(Payload::Block(block)).await?;
            } else {
                self.block = Some(block);
            }
        }
        Ok(())
    }

    async fn empty_block(&self, offset: u64) -> Result<Block, Over> {
        let pool = self.file.pool.as_ref().expect("without blocks nothing is at the frontier");
        let block = pool.try_block(offset);
        self.admission.note(block.is_none());
        match block {
            Some(block) => Ok(block),
            None => self.wait(pool.block(offset)).await,
        }
    }

    /// Waits for room. Who waits is not slow: the disk or the hash is.
    async fn wait<T>(&self, room: impl Future<Output = T>) -> Result<T, Over> {
        self.file.hold(self.segment, true);
        let room = tokio::select! {
            room = room => Ok(room),
            () = self.file.over() => Err(Over),
        };
        self.file.hold(self.segment, false);
        room
    }

    async fn send(&self, payload: Payload) -> Result<(), Over> {
        // The writer is gone only when it failed, and its error ends the file.
        self.payloads.send(payload).await.map_err(|_| Over)
    }
}

/// Where the bytes of a segment are, in the eyes of the admission.
fn place(file: &Active, segment: &Segment) -> Position {
    match &file.pool {
        None => Position::Ahead,
        Some(_) if file.is_frontier(segment) => Position::Frontier,
        Some(pool) if pool.is_plentiful() => Position::Ahead,
        Some(_) => Position::TooFarAhead,
    }
}
