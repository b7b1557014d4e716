//! Bytes of older files on this disk, on the way that bytes of a network take from the frontier: through blocks.

use super::active::Active;
use crate::source::Provenance;
use crate::stop::blocking;
use crate::store::copying::{Broken, Original, Originals};
use crate::store::partial::Partial;
use crate::store::writer::Payload;

/// Who brought what was copied.
pub(super) fn provenance(original: &Original) -> Provenance {
    Provenance::new(&original.path().display().to_string())
}

/// Copies, to the end or until the file is over.
pub(super) async fn blocks(active: &Active, partial: &Partial, originals: &Originals) -> Result<(), Broken> {
    let (Some(pool), Some(payloads)) = (&active.pool, active.payloads()) else { return Ok(()) };
    for copy in &originals.copies {
        let original = &originals.files[copy.original];
        let mut at = copy.to.start;
        while at < copy.to.end {
            let mut block = tokio::select! {
                block = pool.block(at) => block,
                () = active.over() => return Ok(()),
            };
            let (from, most) = (copy.from + (at - copy.to.start), copy.to.end - at);
            let reader = original.clone();
            let read = blocking(move || reader.read_into(&mut block, from, most).map(|()| block));
            let block = read.await?.map_err(Broken::Original)?;
            let range = block.offset()..block.end();
            partial.note_copy(range.clone());
            at = range.end;
            // Without a writer the file is over.
            if payloads.send(Payload::Block(block)).await.is_err() {
                return Ok(());
            }
            active.note_copied(&provenance(original), range);
        }
    }
    Ok(())
}
