//! Machines' logs in S3, put there by the machines with addresses that are signed here.
//!
//! What lives here: the signature. What may not: a request. Whose address it is and what it is for are told.
//!
//! Invariant: size, type and "only if there is none" are signed headers: S3 refuses a put without them or with others.

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use muster_core::log_shelf::{CONTENT_TYPE, LogPut, LogShelf, NotSigned, PUT_WITHIN, PresignedPut, Signing};

use crate::connect;

/// S3 as a place for logs.
#[derive(Clone, Debug)]
pub struct S3LogShelf {
    client: Client,
}

impl S3LogShelf {
    /// S3 with this configuration: its region is the buckets', and its credentials are whose name machines put logs in.
    pub fn over(config: &SdkConfig) -> S3LogShelf {
        S3LogShelf { client: connect::s3_for_others(config) }
    }

    async fn presign(&self, put: LogPut) -> Result<PresignedPut, NotSigned> {
        let not_signed = |why: String| NotSigned { bucket: put.bucket.clone(), why };
        let within = PresigningConfig::expires_in(PUT_WITHIN).map_err(|e| not_signed(e.to_string()))?;
        let bytes = i64::try_from(put.bytes).map_err(|e| not_signed(e.to_string()))?;
        let request = self.client.put_object().bucket(&put.bucket).key(&put.key);
        let request = request.content_length(bytes).content_type(CONTENT_TYPE).if_none_match("*");
        let signed = request.presigned(within).await.map_err(|e| not_signed(crate::calls::why(&e)))?;
        let headers = signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(PresignedPut { url: signed.uri().to_owned(), headers })
    }
}

impl LogShelf for S3LogShelf {
    fn sign(&self, put: LogPut) -> Signing<'_> {
        Box::pin(self.presign(put))
    }
}
