//! The bytes of one range, on their way from the connection to the writer.
//!
//! At the frontier, the lowest byte the file lacks, they are collected in blocks while they are in
//! the CPU's cache. Ahead of it, and in small files, they are passed on as they come.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::active::Active;
use super::schedule::Segment;
use crate::store::block::Block;
use crate::store::gate::{Gate, Pass, Place};
use crate::store::writer::Parcel;

/// The file is over: nobody takes its bytes any more.
#[derive(Debug)]
pub(super) struct Over;

pub(super) struct Intake<'a> {
    gate: &'a Arc<Gate>,
    file: &'a Active,
    segment: &'a Segment,
    parcels: mpsc::Sender<Parcel>,
    /// Bytes from the frontier that do not fill a block yet.
    block: Option<Block>,
}

impl<'a> Intake<'a> {
    /// `None` once the file is over.
    pub(super) fn new(gate: &'a Arc<Gate>, file: &'a Active, segment: &'a Segment) -> Option<Self> {
        Some(Self { gate, file, segment, parcels: file.parcels()?, block: None })
    }

    /// Takes the bytes that follow those before.
    pub(super) async fn take(&mut self, offset: u64, bytes: Bytes) -> Result<(), Over> {
        // A block that was begun goes on: it has no room for gaps.
        if self.block.is_none()
            && let Some(pass) = self.pass(bytes.len()).await?
        {
            return self.send(Parcel::Chunk { offset, bytes, _pass: pass }).await;
        }
        self.collect(offset, bytes).await
    }

    /// Passes on what is left.
    pub(super) async fn close(mut self) {
        if let Some(block) = self.block.take() {
            // Without a writer the file is over.
            let _ = self.send(Parcel::Block(block)).await;
        }
    }

    /// A pass for bytes ahead of the frontier; `None` for those at it.
    async fn pass(&self, bytes: usize) -> Result<Option<Pass>, Over> {
        let (file, segment) = (self.file, self.segment);
        match place(file, segment) {
            Place::Frontier => return Ok(None),
            Place::Ahead => {
                let pass = self.gate.try_enter(bytes);
                self.gate.note(pass.is_none());
                if pass.is_some() {
                    return Ok(pass);
                }
            }
            Place::TooFarAhead => {}
        }
        self.wait(self.gate.enter(bytes, || place(file, segment))).await
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
                self.send(Parcel::Block(block)).await?;
            } else {
                self.block = Some(block);
            }
        }
        Ok(())
    }

    async fn empty_block(&self, offset: u64) -> Result<Block, Over> {
        let pool = self.file.pool.as_ref().expect("without blocks nothing is at the frontier");
        let block = pool.try_block(offset);
        self.gate.note(block.is_none());
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

    async fn send(&self, parcel: Parcel) -> Result<(), Over> {
        // The writer is gone only when it failed, and its error ends the file.
        self.parcels.send(parcel).await.map_err(|_| Over)
    }
}

/// Where the bytes of a segment are, in the eyes of the gate.
fn place(file: &Active, segment: &Segment) -> Place {
    match &file.pool {
        None => Place::Ahead,
        Some(_) if file.is_frontier(segment) => Place::Frontier,
        Some(pool) if pool.is_plentiful() => Place::Ahead,
        Some(_) => Place::TooFarAhead,
    }
}
