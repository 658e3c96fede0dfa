//! Tells a container by its first bytes, never by its name.
//! Text is refused: a playlist (HLS, DASH, ffconcat, SDP) makes ffmpeg open other files, and one named `upload.mp4` copied
//! another tenant's file into its output (measured). What is told here is all that [`super::argv`] lets ffmpeg open.

use longshore_sdk::Fatal;

/// As many bytes as the decision needs.
pub(super) const HEAD_BYTES: usize = 1024;

/// A container that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Mp4,
    Matroska,
    Avi,
    MpegTs,
    Wav,
    Flac,
    Mp3,
    Aac,
    Ogg,
    Jpeg,
    /// Our own segments of a video.
    Nut,
}

impl Container {
    /// What a source may be. JPEG is not among them: only our own thumbnails are looked at as such.
    /// `behind_tag` is what [`behind_id3`] pointed at.
    pub(super) fn of_source(head: &[u8], behind_tag: Option<&[u8]>) -> Result<Self, Fatal> {
        let told = match behind_tag.map(Self::of) {
            None => Self::of(head),
            Some(Some(tagged @ (Self::Aac | Self::Flac))) => Some(tagged),
            // MP3 may have any padding between its tag and its first frame.
            Some(_) => Some(Self::Mp3),
        };
        told.ok_or_else(|| {
            let accepted = "MP4/MOV, Matroska/WebM, AVI, MPEG-TS, WAV, FLAC, MP3, AAC or Ogg";
            Fatal::new("unsupported_format", format!("the source's first bytes are those of no {accepted} file"))
                .at("/source")
        })
    }

    fn of(head: &[u8]) -> Option<Self> {
        match (head, head.get(4..8), head.get(8..12)) {
            (_, Some(b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip"), _) => Some(Self::Mp4),
            ([0x1a, 0x45, 0xdf, 0xa3, ..], ..) => Some(Self::Matroska),
            ([b'R', b'I', b'F', b'F', ..], _, Some(b"AVI ")) => Some(Self::Avi),
            ([b'R', b'I', b'F', b'F', ..] | [b'R', b'F', b'6', b'4', ..], _, Some(b"WAVE")) => Some(Self::Wav),
            ([b'f', b'L', b'a', b'C', ..], ..) => Some(Self::Flac),
            ([b'O', b'g', b'g', b'S', ..], ..) => Some(Self::Ogg),
            // A sync word of 11 bits; the layer bits are zero in AAC and never in MP3.
            ([0xff, second, ..], ..) if second & 0xf6 == 0xf0 => Some(Self::Aac),
            ([0xff, second, ..], ..) if second & 0xe0 == 0xe0 => Some(Self::Mp3),
            _ if is_transport_stream(head) => Some(Self::MpegTs),
            _ => None,
        }
    }

    /// For the result.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Matroska => "matroska",
            Self::Avi => "avi",
            Self::MpegTs => "mpegts",
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
            Self::Aac => "aac",
            Self::Ogg => "ogg",
            Self::Jpeg => "jpeg",
            Self::Nut => "nut",
        }
    }

    /// The one demuxer that ffmpeg is told to use, for the file and for anything it opens from within. Told outright, so that
    /// a misleading file name decides nothing.
    pub(super) fn demuxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mov",
            Self::Jpeg => "jpeg_pipe",
            other => other.name(),
        }
    }

    /// Whether its duration is written down or read from time stamps. The others' is guessed from the bit rate.
    pub(super) fn knows_its_duration(self) -> bool {
        !matches!(self, Self::Mp3 | Self::Aac)
    }
}

/// Where the stream begins behind an ID3 tag, which stands before MP3, AAC and FLAC alike. Its length has seven bits a
/// byte and counts neither the header of ten bytes nor a footer of as many.
pub(super) fn behind_id3(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', _, _, flags, size @ ..] = head else { return None };
    let length = size.get(..4)?.iter().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    Some(10 + length + footer)
}

/// Packets of 188 bytes that start with 0x47, or of 192 with four bytes of time before it.
fn is_transport_stream(head: &[u8]) -> bool {
    let synced = |start: usize, step: usize| (0..3).all(|packet| head.get(start + packet * step) == Some(&0x47));
    synced(0, 188) || synced(4, 192)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(start: usize, step: usize) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        (0..3).for_each(|packet| head[start + packet * step] = 0x47);
        head
    }

    #[test]
    fn a_container_is_told_by_its_first_bytes() {
        let told: [(&[u8], Container); 9] = [
            (b"\0\0\0\x20ftypisom", Container::Mp4),
            (b"\x1a\x45\xdf\xa3\x01", Container::Matroska),
            (b"RIFF\0\0\0\0AVI LIST", Container::Avi),
            (b"RIFF\0\0\0\0WAVEfmt ", Container::Wav),
            (b"fLaC\0\0\0\x22", Container::Flac),
            (b"OggS\0\x02", Container::Ogg),
            (b"\xff\xfb\x90\x64", Container::Mp3),
            (b"\xff\xf1\x50\x80", Container::Aac),
            (&packets(0, 188), Container::MpegTs),
        ];
        for (head, container) in told {
            assert_eq!(Container::of(head), Some(container));
        }
        assert_eq!(Container::of(&packets(4, 192)), Some(Container::MpegTs));
    }

    #[test]
    fn what_follows_an_id3_tag_decides() {
        assert_eq!(behind_id3(b"ID3\x04\0\x10\0\0\x02\x01rest"), Some(10 + 257 + 10));
        assert_eq!(behind_id3(b"ID3\x04\0\0\0"), None);
        for (behind, container) in [
            (&b"fLaC"[..], Container::Flac),
            (b"\xff\xf1\x50", Container::Aac),
            (b"\0\0\0", Container::Mp3),
            (b"", Container::Mp3),
        ] {
            assert_eq!(Container::of_source(b"ID3\x04", Some(behind)).unwrap(), container);
        }
    }

    #[test]
    fn text_pictures_and_scraps_are_no_container() {
        let refused: [&[u8]; 11] = [
            b"",
            b"G",
            b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
            b"ffconcat version 1.0\nfile 'a.mp4'\n",
            b"<?xml version=\"1.0\"?><MPD/>",
            b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
            b"RIFF\0\0\0\0WEBP",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0\0\x10JFIF",
            b"GIF89a",
            &[0; HEAD_BYTES],
        ];
        for head in refused {
            assert_eq!(Container::of(head), None, "{:?}", String::from_utf8_lossy(head));
            assert!(Container::of_source(head, None).is_err());
        }
    }
}
