use futures_util::future::join;

use super::{Batch, Inventory, Part, Stand, Step, TransferSource, TransferTarget};
use crate::{Error, ErrorKind, Result};

/// How many rows a step commonly has: what a step costs beside its rows no longer shows, and it
/// takes a fraction of a second and some megabytes.
pub const ROWS_PER_STEP: usize = 10_000;

/// The most rows that a step may have.
pub const ROWS_PER_STEP_MAX: usize = 50_000;

const CARRY: &str = "carry rows";

/// Carries everything that is not yet carried from a source into a target, in steps of so many
/// rows; tells `seen` how many rows of a part were carried since it was told last, beginning with
/// those that were carried before. Returns how many rows it wrote.
///
/// `inventory` is that of the source as it is now. While a step is written the next one is read.
///
/// # Errors
/// - [`ErrorKind::Invalid`] if there are rows that cannot be moved; then nothing is written.
/// - [`ErrorKind::Conflict`] if the target holds something else, or is being written to.
/// - Those of the stores. What was carried stays, and the next call goes on behind it.
///
/// # Cancel safety
/// A dropped future leaves each step either done or not.
pub async fn carry<S, T>(
    source: &S,
    target: &T,
    inventory: &Inventory,
    rows_per_step: usize,
    mut seen: impl FnMut(Part, u64) + Send,
) -> Result<u64>
where
    S: TransferSource + ?Sized,
    T: TransferTarget + ?Sized,
{
    if inventory.objection_count() > 0 {
        let context = format!(
            "{} rows cannot be moved: mend or delete them first",
            inventory.objection_count()
        );
        return Err(Error::new(ErrorKind::Invalid, CARRY, context));
    }
    target.begin_transfer(inventory.fingerprint()).await?;
    let mut written = 0;
    for part in Part::ALL {
        let limit = rows_per_step.clamp(1, part.rows_max());
        let progress = target.progress(part).await?;
        seen(part, progress.rows);
        let mut from = progress.stand;
        let mut batch = read(source, part, &from, limit).await?;
        while let Some(Batch { rows, next, .. }) = batch {
            let to = next.map_or(Stand::End, Stand::After);
            let step = Step {
                part,
                from,
                rows,
                to,
            };
            let ahead = read(source, part, &step.to, limit);
            let (done, following) = join(target.write_step(&step), ahead).await;
            done?;
            let rows = step.rows.len() as u64;
            written += rows;
            seen(part, rows);
            batch = following?;
            from = step.to;
        }
    }
    Ok(written)
}

/// The rows that follow; `None` at the end.
async fn read<S: TransferSource + ?Sized>(
    source: &S,
    part: Part,
    from: &Stand,
    limit: usize,
) -> Result<Option<Batch>> {
    let after = match from {
        Stand::Start => None,
        Stand::After(place) => Some(place),
        Stand::End => return Ok(None),
    };
    let batch = source.read_rows(part, after, limit).await?;
    match batch.unreadable.first() {
        Some(name) => {
            let context = format!("{name} cannot be read any more: look at the disk");
            Err(Error::new(ErrorKind::Corrupt, CARRY, context))
        }
        None => Ok(Some(batch)),
    }
}
