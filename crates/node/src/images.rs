//! Image garbage collection by disk usage.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use lotse_runtime::{Image, ImageOrigin};
use tokio::time::sleep;

use crate::{error::chain, events::WARNING, machine, pods::Shared};

/// How often the disk is looked at; the kubelet's `imageGCPeriod`.
const PERIOD: Duration = Duration::from_secs(300);
/// Younger images may be about to be used (`imageMinimumGCAge`).
const MIN_AGE_SECONDS: i64 = 120;

/// Looks at the disk now and then, for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        sleep(PERIOD).await;
        collect(&shared).await;
    }
}

async fn collect(shared: &Shared) {
    let config = &shared.config;
    let disk = machine::disk(&config.root);
    if disk.used_percent() < u64::from(config.image_gc_high_percent) {
        return;
    }
    let target = disk.total / 100 * (100 - u64::from(config.image_gc_low_percent.min(100)));
    let wanted = target.saturating_sub(disk.available);
    let used: BTreeSet<String> =
        shared.runtime.pods().into_iter().flat_map(|pod| pod.containers).map(|container| container.image).collect();
    let mut freed = 0;
    for image in candidates(shared.runtime.images(), &used, Timestamp::now()) {
        if freed >= wanted {
            break;
        }
        match shared.runtime.remove_image(&image.id).await {
            Ok(()) => freed += image.size_bytes,
            Err(error) => tracing::warn!(image = image.id, error = %chain(&error), "cannot remove an unused image"),
        }
    }
    if freed < wanted {
        let note = format!(
            "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
        );
        shared.events.node(&config.node_name, WARNING, "FreeDiskSpaceFailed", note);
    }
}

/// Unused images that are old enough and that a registry still has, the oldest first.
fn candidates(images: Vec<Image>, used: &BTreeSet<String>, now: Timestamp) -> Vec<Image> {
    let old = |image: &Image| now.as_second() - image.added.as_second() >= MIN_AGE_SECONDS;
    let mut result: Vec<_> = images
        .into_iter()
        .filter(|image| image.origin == ImageOrigin::Pulled && !used.contains(&image.id) && old(image))
        .collect();
    result.sort_by_key(|image| image.added);
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn images_in_use_young_ones_and_what_only_a_file_had_stay() {
        let image = |id: &str, added: i64| Image {
            id: id.into(),
            names: vec![],
            digests: vec![],
            size_bytes: 1,
            added: Timestamp::from_second(added).unwrap(),
            origin: ImageOrigin::Pulled,
            user: String::new(),
        };
        let images = vec![
            Image { origin: ImageOrigin::Imported, ..image("imported", 50) },
            image("young", 950),
            image("new", 300),
            image("used", 1),
            image("old", 100),
        ];
        let found = candidates(images, &BTreeSet::from(["used".to_owned()]), Timestamp::from_second(1000).unwrap());
        assert_eq!(found.iter().map(|image| image.id.as_str()).collect::<Vec<_>>(), ["old", "new"]);
    }
}
