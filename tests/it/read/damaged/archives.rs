//! npz archives that cannot be, and the tables.

use std::io::Write as _;

use quantlens::{Model, Source as _, TileBuffer};

use super::super::npy;
use super::refused;

/// A member as an archive holds it.
struct Member {
    name: Vec<u8>,
    method: u16,
    crc: u32,
    data: Vec<u8>,
    /// Decompressed.
    len: u32,
}

impl Member {
    fn stored(name: &str, data: Vec<u8>) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(&data);
        Self { name: name.into(), method: 0, crc: crc.sum(), len: data.len() as u32, data }
    }

    fn deflated(name: &str, data: &[u8]) -> Self {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        Self { method: 8, data: encoder.finish().unwrap(), ..Self::stored(name, data.to_vec()) }
    }

    /// What both headers say, from the version on.
    fn fields(&self) -> Vec<u8> {
        let mut out = [20_u16, 0, self.method, 0, 0].iter().flat_map(|field| field.to_le_bytes()).collect::<Vec<_>>();
        out.extend([self.crc, self.data.len() as u32, self.len].iter().flat_map(|field| field.to_le_bytes()));
        out.extend([self.name.len() as u16, 0].iter().flat_map(|field| field.to_le_bytes()));
        out
    }
}

/// An archive; the directory may say that a member begins elsewhere.
fn zip(members: &[Member], starts: &[Option<u32>]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (number, member) in members.iter().enumerate() {
        let start = starts.get(number).copied().flatten().unwrap_or(file.len() as u32);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(member.fields());
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(&member.name);
        file.extend(b"PK\x03\x04");
        file.extend(member.fields());
        file.extend(&member.name);
        file.extend(&member.data);
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([members.len() as u16; 2].iter().flat_map(|count| count.to_le_bytes()));
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0; 2]);
    file
}

fn array(elements: usize) -> Vec<u8> {
    npy(&format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({elements},), }}"), elements)
}

#[test]
fn archives() {
    let of = |members: &[Member], starts: &[Option<u32>], expected| refused("m.npz", zip(members, starts), expected);
    let good = zip(&[Member::stored("x.npy", array(5)), Member::deflated("y.npy", &array(300))], &[]);
    let model = Model::from_bytes("m", good.clone()).unwrap();
    assert_eq!(model.tensor("y").unwrap().to_f64_vec()[255], 255.0);
    refused(
        "m.npz",
        good[..good.len() - 1].to_vec(),
        "m.npz, byte 604: the directory of this zip archive, which is its last part, is missing: it is cut short, get it again",
    );
    refused(
        "m.npz",
        good[..40].to_vec(),
        "m.npz, byte 40: the directory of this zip archive, which is its last part, is missing: it is cut short, get it again",
    );
    of(
        &[Member::stored("x.npy", array(5)), Member::stored("x.npy", array(5))],
        &[],
        "m.npz, tensor `x.npy`, byte 265: there are two members of this name: the file is damaged or made to mislead",
    );
    of(
        &[Member::stored("x.npy", array(5)), Member::stored("y.npy", array(5))],
        &[None, Some(0)],
        "m.npz, tensor `y.npy`, byte 0: this byte is also one of tensor `x.npy`: the file is damaged or made to mislead",
    );
    of(
        &[Member::stored("x.npy", array(5))],
        &[Some(7)],
        "m.npz, tensor `x.npy`, byte 7: the member is said to begin here, but its mark is missing: the file is damaged",
    );
    of(
        &[Member::stored("x.npy", array(5))],
        &[Some(u32::MAX)],
        "m.npz, tensor `x.npy`, byte 107: the zip64 field with its lengths is missing: the file is damaged",
    );
    of(
        &[Member { name: b"\xff.npy".to_vec(), ..Member::stored("x.npy", array(5)) }],
        &[],
        "m.npz, byte 153: the name of a member is not UTF-8 text: the file is damaged, or of another format",
    );
    of(
        &[Member { len: 9, ..Member::stored("x.npy", array(5)) }],
        &[],
        "m.npz, tensor `x.npy`, byte 107: it is stored as it is, but has two lengths, 72 and 9: the file is damaged",
    );
    // A bomb by what it says, and one by what its array says.
    of(
        &[Member { len: u32::MAX - 1, ..Member::deflated("x.npy", &array(5)) }],
        &[],
        "m.npz, tensor `x.npy`, byte 104: 69 bytes cannot be decompressed to 4294967294, as it says: the file is damaged or made to mislead",
    );
    of(
        &[Member::deflated("x.npy", &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,), }", 100))],
        &[],
        "m.npz, tensor `x`, byte 35: shape [1000000000] of <f4 needs 4000000000 bytes, but 100 follow: it is cut short or damaged, get it again",
    );
    of(
        &[Member::stored("x.npy", [array(5), vec![0; 3]].concat())],
        &[],
        "m.npz, tensor `x`, byte 107: its array ends here, but 3 bytes follow: the file is damaged",
    );
    let directory = good.len() - 22;
    let mut many = good.clone();
    many[directory + 8..directory + 12].copy_from_slice(&[0xfe, 0xff, 0xfe, 0xff]);
    refused(
        "m.npz",
        many,
        "m.npz, byte 583: the directory of this zip archive is said to have 65534 members in 102 bytes from byte 481 on, which cannot be: it is damaged, get it again",
    );
    let mut far = good.clone();
    far[directory + 16..directory + 20].copy_from_slice(&[0xfe; 4]);
    refused(
        "m.npz",
        far,
        "m.npz, byte 583: the directory of this zip archive is said to have 2 members in 102 bytes from byte 4278124286 on, which cannot be: it is damaged, get it again",
    );
    let mut long = good;
    long[directory + 16..directory + 20].copy_from_slice(&[0xff; 4]);
    refused("m.npz", long, "m.npz, byte 563: the zip64 directory is not where it should be: the file is damaged, get it again");
}

/// What only shows when values are read: the length, the checksum, what is no deflated data.
#[test]
fn members_that_cannot_be_decompressed() {
    let reads = |member: Member, expected: &str| {
        let model = Model::from_bytes("m.npz", zip(&[member], &[])).unwrap();
        assert_eq!(model.tensor("x").unwrap_err().to_string(), expected);
        // And again, for nothing is kept of what failed.
        assert_eq!(model.tensor("x").unwrap_err().to_string(), expected);
    };
    let member = || Member::deflated("x.npy", &array(3000));
    reads(
        Member { crc: 1, ..member() },
        "m.npz, tensor `x`, byte 399: its checksum is 8c6fe603, but should be 00000001: the file is damaged, get it again",
    );
    let short = member().data.len() - 3;
    reads(
        Member { data: member().data[..short].to_vec(), ..member() },
        "m.npz, tensor `x`, byte 396: its data ends after 2906 bytes, but it is said to have 3070: the file is damaged",
    );
    let mut broken = member();
    let last = broken.data.len() - 20;
    broken.data[last..].fill(0xff);
    reads(broken, "m.npz, tensor `x`, byte 380: its data cannot be decompressed: the file is damaged, get it again");
}

/// A megabyte that stands for a gigabyte is read a piece at a time.
#[test]
fn a_bomb_is_read_in_pieces() {
    let elements = 1 << 28;
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({elements},), }}");
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    let head = npy(&header, 0);
    encoder.write_all(&head).unwrap();
    for _ in 0..1024 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let member = Member {
        data: encoder.finish().unwrap(),
        len: (head.len() + (1 << 30)) as u32,
        method: 8,
        ..Member::stored("x.npy", vec![])
    };
    let model = Model::from_bytes("m.npz", zip(&[member], &[])).unwrap();
    assert_eq!(model.infos()[0].elements(), elements);
    let mut buffer = TileBuffer::default();
    let quantlens::Slice::F32(values) = model.read(0, 1_000_000..1_065_536, &mut buffer).unwrap() else { panic!("it is f32") };
    assert!(values.iter().all(|&value| value == 0.0));
    assert!(buffer.f32.capacity() == 65_536 && buffer.bytes.is_empty());
}

#[cfg(feature = "csv")]
#[test]
fn tables_of_text() {
    let of = |text: &[u8], expected| refused("m.csv", text.to_vec(), expected);
    of(b"\n\n", "m.csv, byte 0: there is no row in this file");
    of(b"a,b\n1,2\n3\n", "m.csv, byte 8: row 1 has 1 fields, but there are 2 columns");
    of(b"a,b\n1,2\n3,4,5\n", "m.csv, byte 8: row 1 has 3 fields, but there are 2 columns");
    of(b"a,a\n1,2\n", "m.csv, tensor `a`, byte 0: there are two columns of this name: give each a name of its own");
    of(b"a,\xff\n1,2\n", "m.csv, byte 0: the name of column 2 is not UTF-8 text: convert the file");
    of(
        &[&b"a,b\n\"1"[..], &vec![b','; 40_000_000]].concat(),
        "m.csv, byte 4: a row takes more than 16777216 bytes: a quote may be left open",
    );
    of(&vec![b','; 70_000], "m.csv, byte 0: the first row has 70001 fields, but at most 65536 columns are read");
    let model = Model::from_bytes("m.csv", b"a,b,c,d\n1,x,,9007199254740993\n2.5,1,2,3\n".to_vec()).unwrap();
    let reasons: Vec<_> = model.skipped().iter().map(|skipped| format!("{}: {}", skipped.name, skipped.reason)).collect();
    assert_eq!(
        reasons,
        [
            "b: row 0 has `x`, which is no number",
            "c: row 0 has no value: fill or leave out such rows",
            "d: element 0 is 9007199254740993, which f64 does not hold: store it as a float, or leave out the low digits",
        ]
    );
    let model = Model::from_bytes("m.csv", b"a;b\n1;x\n".to_vec()).unwrap();
    assert_eq!((model.infos().len(), model.skipped()[0].reason.as_str()), (1, "row 0 has `x`, which is no number"));
    // Without names the columns are numbered.
    let model = Model::from_bytes("m.csv", b"1\t2\n-3e2\t nan\n".to_vec()).unwrap();
    assert_eq!(model.tensor("column_1").unwrap().to_f64_vec(), [1.0, -300.0]);
    assert_eq!(
        model.tensor("column_2").unwrap_err().to_string(),
        "tensor `column_2` has NaN at index 1: every value must be finite, remove or replace it first"
    );
}

#[cfg(feature = "parquet")]
#[test]
fn tables_in_parquet() {
    let of = |bytes: &[u8], expected| refused("m.parquet", bytes.to_vec(), expected);
    of(
        b"PAR1",
        "m.parquet, byte 0: 8 bytes are expected here, but the file ends at byte 4: it is cut short or damaged, get it again",
    );
    of(
        b"PAR1 and so on, not closed",
        "m.parquet, byte 18: the file ends without PAR1, the end of its metadata: it is cut short, get it again",
    );
    of(
        b"PAR1\xff\xff\xff\xffPAR1",
        "m.parquet, byte 4: the metadata is said to have 4294967295 bytes, which cannot be: the file is damaged",
    );
    of(b"PAR1\x00\x00\x00\x00PAR1", "m.parquet, byte 4: 1 bytes are expected here, but the part they belong to ends at byte 4");
    // A field 15 that is a list, and the list: with these 7 bytes again and again the crate parquet has work for hours.
    of(
        b"PAR1\xf9\xf1\xff\xff\xff\xff\x07\x00\x08\x00\x00\x00PAR1",
        "m.parquet, byte 11: a list of 2147483647 truth values stands where there is none: the file is damaged",
    );
    of(
        b"PAR1\xfb\x00\x00\x03\x00\x00\x00PAR1",
        "m.parquet, byte 5: it has a field of type 11, which there is not: the file is damaged",
    );
    of(
        b"PAR1\x15\x00\x15\x00\x00\x05\x00\x00\x00PAR1",
        "m.parquet, byte 7: a field of type 5 stands where there is another: the file is damaged",
    );
    of(
        b"PAR1\x00\x01\x00\x00\x00PAR1",
        "m.parquet: it cannot be decoded, Parquet error: Required field version is missing: the file is damaged, get it again",
    );
}
