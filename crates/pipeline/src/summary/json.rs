//! The same for machines: JSON, `"v": 1`.

use serde_json::{Map, Value, json};

use super::{Cell, Checked, KernelColumn, PackageLine, Row, State, Summary};

/// The summary as pretty JSON with a newline at the end.
pub fn to_json(summary: &Summary) -> String {
    format!("{:#}\n", to_value(summary))
}

/// The summary as JSON.
pub fn to_value(summary: &Summary) -> Value {
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
    json!({
        "v": 1, "name": summary.name, "good": summary.is_good(), "kernels": kernels, "programs": programs(summary),
        "counts": counts, "packages": packages, "failures": summary.failures,
    })
}

/// The summary out of its JSON; None when it is something else.
pub fn from_value(value: &Value) -> Option<Summary> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kernels: Vec<KernelColumn> =
        value["kernels"].as_array()?.iter().map(kernel_from).collect::<Option<_>>()?;
    let row = |value: &Value| {
        let cells = kernels.iter().map(|kernel| {
            let cell = &value["on"][&kernel.id];
            Some(Cell { state: State::of_code(cell["state"].as_str()?)?, reason: text(&cell["reason"]) })
        });
        let cells = cells.collect::<Option<_>>()?;
        Some(Row { object: text(&value["object"])?, program: text(&value["program"])?, cells })
    };
    let package = |value: &Value| {
        Some(PackageLine {
            file: text(&value["file"])?,
            bytes: value["size"].as_u64()?,
            sha256: text(&value["sha256"])?,
            kernels: usize::try_from(value["kernels"].as_u64()?).ok()?,
            blobs: value["blobs"].as_u64()?,
        })
    };
    Some(Summary {
        name: text(&value["name"])?,
        rows: value["programs"].as_array()?.iter().map(row).collect::<Option<_>>()?,
        packages: value["packages"].as_array()?.iter().map(package).collect::<Option<_>>()?,
        failures: value["failures"].as_array()?.iter().map(text).collect::<Option<_>>()?,
        kernels,
    })
}

fn kernel_from(value: &Value) -> Option<KernelColumn> {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let checked = match value["checked"].as_str()? {
        "booted" => Checked::Booted(text("how")?),
        "host" => Checked::Host(text("how")?),
        _ => Checked::No,
    };
    let bytes = value["btf_size"].as_u64().zip(value["min_btf_size"].as_u64());
    Some(KernelColumn { id: text("id")?, checked, failure: text("failure"), bytes })
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
    fn it_is_read_as_it_was_written() {
        assert_eq!(from_value(&to_value(&example())), Some(example()));
        assert_eq!(from_value(&Value::Null), None);
    }

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
