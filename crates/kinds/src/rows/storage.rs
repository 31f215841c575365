//! Group storage.k8s.io, version v1.

use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
};

use crate::{
    columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<CSIDriver>().columns(columns::storage::csi_driver()).default(hooks::storage::default_csi_driver),
        row::<CSINode>().columns(columns::storage::csi_node()),
        row::<CSIStorageCapacity>().columns(columns::storage::csi_storage_capacity()),
        row::<StorageClass>()
            .short(&["sc"])
            .columns(columns::storage::class())
            .default(hooks::storage::default_class)
            .validate(hooks::storage::validate_class),
        row::<VolumeAttachment>()
            .status()
            .columns(columns::storage::attachment())
            .validate(hooks::storage::validate_attachment),
        row::<VolumeAttributesClass>()
            .short(&["vac"])
            .columns(columns::storage::attributes_class())
            .validate(hooks::storage::validate_attributes_class),
    ]
}
