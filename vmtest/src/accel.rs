//! KVM or emulation: tested before the first boot, and given up aloud.

use std::sync::OnceLock;

use crate::kvm::{Speed, Unusable};
use crate::report::{VmEvent, VmReport};
use crate::spec::Accel;

/// The test of KVM: [`crate::kvm::probe`], or what a test puts in its place.
pub type Probe<'a> = &'a dyn Fn() -> Result<Speed, Unusable>;

/// KVM passed its test and failed a machine all the same: not again in this process.
static KVM_FAILED: OnceLock<String> = OnceLock::new();

/// The accelerator, and whether it may still change.
pub struct Choice {
    pub accel: Accel,
    pub may_fall_back: bool,
}

/// Chooses, and tells everyone; the error says why explicit KVM cannot be.
pub fn choose(
    wanted: Accel,
    probe: Probe<'_>,
    report: &mut VmReport,
    events: &mut dyn FnMut(VmEvent),
) -> Result<Choice, String> {
    let tested = match (wanted, KVM_FAILED.get()) {
        (Accel::Tcg, _) => None,
        (Accel::Auto, Some(reason)) => Some(Err(reason.clone())),
        (Accel::Auto | Accel::Kvm, _) => Some(probe().map_err(|unusable| unusable.to_string())),
    };
    let (accel, reason, fallback) = match tested {
        None => (Accel::Tcg, "asked for".to_owned(), false),
        Some(Ok(Speed(time))) => {
            (Accel::Kvm, format!("the test program took {} ms", time.as_millis()), false)
        }
        Some(Err(reason)) if wanted == Accel::Auto => (Accel::Tcg, format!("no KVM: {reason}"), true),
        Some(Err(reason)) => {
            report.accel_reason = reason.clone();
            return Err(format!("KVM was asked for, but {reason}; use accel auto or tcg"));
        }
    };
    report.accel = accel;
    report.accel_reason = reason.clone();
    events(VmEvent::Accel { accel, reason, fallback });
    Ok(Choice { accel, may_fall_back: wanted == Accel::Auto && accel == Accel::Kvm })
}

impl Choice {
    /// To emulation, for the rest of this process.
    pub fn fall_back(&mut self, reason: String, report: &mut VmReport, events: &mut dyn FnMut(VmEvent)) {
        let reason = KVM_FAILED.get_or_init(|| reason).clone();
        *self = Choice { accel: Accel::Tcg, may_fall_back: false };
        report.accel = Accel::Tcg;
        report.accel_reason = reason.clone();
        events(VmEvent::Accel { accel: Accel::Tcg, reason, fallback: true });
    }
}
