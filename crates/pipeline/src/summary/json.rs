//! The same for machines: JSON, `"v": 1`.

use serde_json::{Map, Value, json};

use super::{Checked, Summary};

/// The summary as pretty JSON with a newline at the end.
pub fn to_json(summary: &Summary) -> String {
    let kernels: Vec<Value> = summary.kernels.iter().map(kernel).collect();
    let packages: Vec<Value> = summary
        .packages
        .iter()
        .map(|package| {
            json!({
                "file": package.file, "size": package.bytes, "sha256": package.sha256,
                "kernels": package.kernels, "blobs": package.blobs,
            })
        })
        .collect();
    let counts: Map<String, Value> =
        summary.counts().into_iter().map(|(state, count)| (state.code().to_owned(), count.into())).collect();
    let whole = json!({
        "v": 1, "name": summary.name, "good": summary.is_good(), "kernels": kernels, "programs": programs(summary),
        "counts": counts, "packages": packages, "failures": summary.failures,
    });
    format!("{whole:#}\n")
}

fn kernel(kernel: &super::KernelColumn) -> Value {
    let (checked, how) = match &kernel.checked {
        Checked::Booted(how) => ("booted", Some(how)),
        Checked::Host(why) => ("host", Some(why)),
        Checked::No => ("no", None),
    };
    json!({
        "id": kernel.id, "checked": checked, "how": how, "failure": kernel.failure,
        "btf_size": kernel.bytes.map(|(full, _)| full), "min_btf_size": kernel.bytes.map(|(_, ours)| ours),
    })
}

fn programs(summary: &Summary) -> Vec<Value> {
    let on_kernels = |row: &super::Row| -> Map<String, Value> {
        let cells = row.cells.iter().zip(&summary.kernels);
        cells
            .map(|(cell, kernel)| {
                (kernel.id.clone(), json!({"state": cell.state.code(), "reason": cell.reason}))
            })
            .collect()
    };
    summary
        .rows
        .iter()
        .map(|row| json!({"object": row.object, "program": row.program, "on": on_kernels(row)}))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn machines_find_every_cell() {
        let value: Value = serde_json::from_str(&to_json(&example())).unwrap();
        assert_eq!(value["good"], false);
        assert_eq!(value["kernels"][0]["checked"], "host");
        let cell = &value["programs"][3]["on"]["debian/12/x86_64/6.1.0-50-cloud-amd64"];
        assert_eq!(cell["state"], "mismatch");
        assert_eq!(cell["reason"], "instruction 12: byte_off 8, not 16");
        assert_eq!(value["counts"]["needs-kernel-btf"], 4);
    }
}
