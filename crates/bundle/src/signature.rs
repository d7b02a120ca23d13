//! The signature of minisign: one over SHA256SUMS covers a release.

use minisign_verify::{PublicKey, Signature};

/// Whose signature it must be.
#[derive(Debug)]
pub struct SigningKey(PublicKey);

/// Why a signature is not good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A text that is no public key.
    #[error("not a public key of minisign: give the base64 line, or the file that \"minisign -G\" wrote")]
    Key,
    /// A text that is no signature.
    #[error("not a signature of minisign")]
    Format,
    /// A good signature of somebody else, or of other bytes.
    #[error("the signature is not by this key over these bytes: {0}")]
    Wrong(String),
}

impl SigningKey {
    /// Reads a public key: the line in base64, or the whole file with its comment.
    pub fn parse(text: &str) -> Result<SigningKey, SignatureError> {
        let text = text.trim();
        let key = match text.lines().count() {
            1 => PublicKey::from_base64(text),
            _ => PublicKey::decode(text),
        };
        key.map(SigningKey).map_err(|_| SignatureError::Key)
    }

    /// Whether `signature` (the text of a `.minisig`) is by this key over `bytes`; answers its trusted comment.
    pub fn check(&self, bytes: &[u8], signature: &str) -> Result<String, SignatureError> {
        let signature = Signature::decode(signature).map_err(|_| SignatureError::Format)?;
        // Signatures of old versions are over the bytes themselves; they are as good.
        let checked = self.0.verify(bytes, &signature, true);
        checked.map_err(|error| SignatureError::Wrong(error.to_string()))?;
        Ok(signature.trusted_comment().to_owned())
    }
}
