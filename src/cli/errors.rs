//! What the errors of the library mean for the exit code. Those of the registry client mean one
//! thing at the source and another at the destination, so the flows say it.

use std::io::ErrorKind;

use super::exit::{CliError, Exit};
use crate::{
    bundle::BundleError,
    create::{CreateError, Unresolved},
    extract::ExtractError,
    inspect::RawError,
    load::{HandoffFailure, HandoffFault, LoadError},
    open::OpenError,
    registry::{CredentialError, RegistryError},
    request::RequestError,
    serve::ServeError,
    trust::TrustError,
};

impl CliError {
    /// A failure of the registry that images come from (exit code 5), unless it is one of this
    /// side.
    pub fn source(error: &RegistryError) -> Self {
        Self::of_registry(Exit::Source, error)
    }

    /// A failure of the registry that a bundle goes to (exit code 6), unless it is one of this
    /// side.
    pub fn destination(error: &RegistryError) -> Self {
        Self::of_registry(Exit::Destination, error)
    }

    fn of_registry(theirs: Exit, error: &RegistryError) -> Self {
        let exit = match error {
            RegistryError::CaFile { .. }
            | RegistryError::Certificate { .. }
            | RegistryError::Host(_)
            | RegistryError::Usage(_) => Exit::Usage,
            RegistryError::Credentials(CredentialError::File { .. }) | RegistryError::Source(_) => {
                Exit::LocalIo
            }
            RegistryError::Credentials(_) => Exit::Usage,
            RegistryError::Setup(_) => Exit::Internal,
            _ => theirs,
        };
        Self::new(exit, error).maybe_hint(error.hint())
    }
}

impl From<RequestError> for CliError {
    fn from(error: RequestError) -> Self {
        Self::usage(&error)
            .details(error.problems())
            .maybe_hint(error.hint())
    }
}

/// What a failure of trust means.
fn trust_exit(error: &TrustError) -> Exit {
    match error {
        TrustError::NoSignature
        | TrustError::TooManySignatures { .. }
        | TrustError::NoTrustedSignature { .. }
        | TrustError::BelowThreshold { .. }
        | TrustError::NotMadeUnsigned
        | TrustError::NotABundleRoot(_) => Exit::Untrusted,
        TrustError::NoKeys
        | TrustError::TooManyKeys { .. }
        | TrustError::BadThreshold { .. }
        | TrustError::BadKeyFile { .. }
        | TrustError::WrongPassword { .. }
        | TrustError::KeyFileExists { .. }
        | TrustError::PasswordNotText { .. } => Exit::Usage,
        // A file that was named and is not there is a wrong name.
        TrustError::Io { cause, .. } if cause.kind() == ErrorKind::NotFound => Exit::Usage,
        TrustError::Io { .. } => Exit::LocalIo,
        TrustError::Random(_) | TrustError::Encode | TrustError::SelfCheck => Exit::Internal,
    }
}

impl From<TrustError> for CliError {
    fn from(error: TrustError) -> Self {
        let exit = trust_exit(&error);
        Self::new(exit, &error)
            .details(error.details())
            .maybe_hint(error.hint())
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        let exit = match &error {
            ServeError::NotAStore { .. }
            | ServeError::Layout { .. }
            | ServeError::InUse { .. }
            | ServeError::Tls { .. } => Exit::Usage,
            ServeError::Listen { .. } | ServeError::Store { .. } => Exit::LocalIo,
            ServeError::Stopped | ServeError::Signals(_) => Exit::Internal,
        };
        Self::new(exit, &error).maybe_hint(error.hint())
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let (details, hint) = (error.details(), error.hint());
        let exit = match &error {
            OpenError::NotAFile { .. } => Exit::Usage,
            OpenError::Open { error, .. } if error.kind() == ErrorKind::NotFound => Exit::Usage,
            OpenError::Open { .. } => Exit::LocalIo,
            OpenError::Bundle { error, .. } => bundle_exit(error),
            OpenError::Trust { error, .. } => trust_exit(error),
        };
        Self::new(exit, &error).details(details).maybe_hint(hint)
    }
}

/// Damage is the bundle's fault, unless it could not be read at all.
fn bundle_exit(error: &BundleError) -> Exit {
    if error.is_io() {
        Exit::LocalIo
    } else {
        Exit::Damaged
    }
}

impl From<CreateError> for CliError {
    fn from(error: CreateError) -> Self {
        let (details, hint) = (error.details(), error.hint());
        let exit = match &error {
            CreateError::Resolve { failed, .. }
                if failed.iter().any(|(_, fault)| is_of_own_files(fault)) =>
            {
                Exit::Usage
            }
            CreateError::Charts { failed, .. }
                if failed.iter().any(|(_, fault)| fault.is_of_source()) =>
            {
                Exit::Source
            }
            CreateError::Nothing
            | CreateError::Unreadable(_)
            | CreateError::Charts { .. }
            | CreateError::Helm(_)
            | CreateError::Keyring(_)
            | CreateError::Operators(_)
            | CreateError::Lock(_)
            | CreateError::OutputExists(_)
            | CreateError::OutputKind(_)
            | CreateError::Locked(_) => Exit::Usage,
            CreateError::Resolve { .. }
            | CreateError::Referrers { .. }
            | CreateError::Fetch { .. }
            | CreateError::Content { .. }
            | CreateError::Bundle(BundleError::Contents(_)) => Exit::Source,
            CreateError::Bundle(error) if error.is_io() => Exit::LocalIo,
            CreateError::Bundle(_) => Exit::Internal,
            CreateError::Trust(error) => trust_exit(error),
            CreateError::File { .. }
            | CreateError::Space { .. }
            | CreateError::FileTooLarge { .. }
            | CreateError::Write { .. } => Exit::LocalIo,
        };
        let text = match &error {
            CreateError::Resolve { .. }
            | CreateError::Referrers { .. }
            | CreateError::Charts { .. } => {
                format!("{error}; no bundle was written")
            }
            _ => error.to_string(),
        };
        Self::new(exit, text).details(details).maybe_hint(hint)
    }
}

/// Whether nothing was asked of a registry, because the certificates that are kept for it here
/// cannot be used.
fn is_of_own_files(fault: &Unresolved) -> bool {
    matches!(
        fault,
        Unresolved::Registry {
            error: RegistryError::Certificate { .. },
            ..
        }
    )
}

impl From<LoadError> for CliError {
    fn from(error: LoadError) -> Self {
        let (details, hint) = (error.details(), error.hint());
        let exit = match error {
            LoadError::Destination { ref error, .. }
                if matches!(**error, RegistryError::Certificate { .. }) =>
            {
                Exit::Usage
            }
            LoadError::Open(error) => return error.into(),
            LoadError::Damaged { ref error, .. } => bundle_exit(error),
            LoadError::VerifyFirstNeedsFile
            | LoadError::Relocation(_)
            | LoadError::HandoffDirectory { .. } => Exit::Usage,
            LoadError::HandoffWrite { .. } => Exit::LocalIo,
            LoadError::Handoff(ref fault) => handoff_exit(fault),
            LoadError::Clash(_)
            | LoadError::Conflict(_)
            | LoadError::Destination { .. }
            | LoadError::SparseIndex { .. }
            | LoadError::Refused { .. }
            | LoadError::BlobsMissing { .. }
            | LoadError::ReadBack { .. }
            | LoadError::PipeOnce { .. } => Exit::Destination,
        };
        Self::new(exit, &error).details(details).maybe_hint(hint)
    }
}

fn handoff_exit(fault: &HandoffFault) -> Exit {
    match fault {
        HandoffFault::Write { .. } | HandoffFault::Changed { .. } => Exit::LocalIo,
        HandoffFault::Names(_) => Exit::Usage,
        HandoffFault::Chart { .. } | HandoffFault::Values { .. } => Exit::Damaged,
        HandoffFault::Destination { .. } => Exit::Destination,
        HandoffFault::Damaged(error) => bundle_exit(error),
    }
}

impl From<&HandoffFailure> for CliError {
    fn from(failure: &HandoffFailure) -> Self {
        let fault = &failure.fault;
        Self::new(handoff_exit(fault), failure)
            .details(fault.details())
            .maybe_hint(fault.hint())
    }
}

impl From<ExtractError> for CliError {
    fn from(error: ExtractError) -> Self {
        let exit = match &error {
            ExtractError::Exists(_) | ExtractError::NotThere(_) => Exit::Usage,
            ExtractError::Name(_) => Exit::Damaged,
            ExtractError::Bundle(error) => bundle_exit(error),
            ExtractError::Write { .. } => Exit::LocalIo,
        };
        Self::new(exit, &error).maybe_hint(error.hint())
    }
}

impl From<RawError> for CliError {
    fn from(error: RawError) -> Self {
        match &error {
            RawError::NotThere(_) | RawError::NotADocument(_) => {
                Self::usage(&error).hint("bundle inspect lists what is in the bundle")
            }
            RawError::Bundle(inner) => {
                Self::new(bundle_exit(inner), &error).maybe_hint(inner.hint())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::Asked, request::RequestBuilder};

    #[test]
    fn what_is_not_trusted_has_a_code_of_its_own() {
        let exit = |error: TrustError| CliError::from(error).exit;
        assert_eq!(exit(TrustError::NoSignature), Exit::Untrusted);
        assert_eq!(exit(TrustError::NoKeys), Exit::Usage);
        let io = |kind: ErrorKind| TrustError::Io {
            file: "x".into(),
            action: "read",
            cause: kind.into(),
        };
        assert_eq!(exit(io(ErrorKind::NotFound)), Exit::Usage);
        assert_eq!(exit(io(ErrorKind::PermissionDenied)), Exit::LocalIo);
    }

    #[test]
    fn a_registry_is_source_or_destination_but_this_side_is_neither() {
        let missing = RegistryError::Host("x/".to_owned());
        assert_eq!(CliError::source(&missing).exit, Exit::Usage);
        let certificate = RegistryError::Certificate {
            path: "client.key".into(),
            detail: "the key is encrypted".to_owned(),
        };
        let error = CliError::destination(&certificate);
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.hint.is_some());
        let unreadable = || std::io::Error::from(ErrorKind::PermissionDenied);
        let credentials = RegistryError::Credentials(CredentialError::File {
            path: "config.json".into(),
            source: unreadable(),
        });
        assert_eq!(CliError::destination(&credentials).exit, Exit::LocalIo);
        let asked = Asked {
            attempts: 0,
            method: reqwest::Method::GET,
            what: "x".to_owned(),
            origin: "https://a.b".to_owned(),
            pushes_to: None,
        };
        let ignored = RegistryError::RangeIgnored {
            asked: Box::new(asked),
        };
        assert_eq!(CliError::source(&ignored).exit, Exit::Source);
        assert_eq!(CliError::destination(&ignored).exit, Exit::Destination);
    }

    #[test]
    fn a_request_that_is_wrong_twice_is_shown_in_full() {
        let mut builder = RequestBuilder::new();
        builder.image("A").image("B");
        let error = CliError::from(builder.build().unwrap_err());
        assert_eq!((error.exit, error.details.len()), (Exit::Usage, 2));
        let mut builder = RequestBuilder::new();
        builder.image("A");
        let error = CliError::from(builder.build().unwrap_err());
        assert!(
            error.details.is_empty() && error.message.contains("`A`"),
            "{error:?}"
        );
    }
}
