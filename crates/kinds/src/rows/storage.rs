//! Group storage.k8s.io, version v1.

use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass};

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<CSIDriver>(),
        row::<CSINode>(),
        row::<CSIStorageCapacity>(),
        row::<StorageClass>()
            .short(&["sc"])
            
            
            ,
        row::<VolumeAttachment>()
            .status()
            
            ,
        row::<VolumeAttributesClass>()
            .short(&["vac"])
            
            ,
    ]
}
