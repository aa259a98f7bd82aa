#!/usr/bin/env python3
"""Writes tokenizer.json: texts, and what Hugging Face's two BERT tokenizers make of them.

`fast` is BertTokenizerFast (Rust), `slow` is BertTokenizer (Python), both loaded as a model directory with the
bert-base-uncased vocabulary (lower-casing, accents stripped, CJK split) and called with a batch of one, as a
data set is. Cases on which both agree carry `expected`; the others stand apart with both answers and a note.

Made with tokenizers 0.13.3, transformers 4.30.2, Python 3.11 (Unicode 14 data). The same seed gives the same file.
"""

import argparse
import gzip
import hashlib
import itertools
import json
import logging
import random
import shutil
import sys
import tempfile
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Optional

import tokenizers
import transformers

VOCABULARY = "bert-base-uncased-vocab.txt"  # a copy lies beside tokenizer.json
SENTENCES = {  # task: text columns of its TSV files
    "SST-2": ["sentence"],
    "MRPC": ["#1 String", "#2 String"],
    "QNLI": ["question", "sentence"],
    "RTE": ["sentence1", "sentence2"],
    "MNLI": ["sentence1", "sentence2"],
}


@dataclass(frozen=True)
class Case:
    group: str
    text: str
    pair: Optional[str] = None
    max_length: int = 128
    pad: bool = False

    def head(self):
        out = {"group": self.group, "text": self.text}
        if self.pair is not None:
            out["pair"] = self.pair
        out["max_length"] = self.max_length
        if self.pad:
            out["pad"] = True
        return out


# ---------------------------------------------------------------- material

# Single word pieces, all different, for truncation: what was cut can be seen.
COMMON = ("the of and in to was he is as for on with that it his by at from her she you had an were but be this "
          "are not my they one which or have him me first all also their has up who out been when after there into "
          "new two its time would no what about said we over then other so more can if like back them only some "
          "could where just during before do made school through than now years most world may between down well "
          "three year while will").split()
WORDS = ("Film actor's movie well-known 1,234.5 tokenization unaffable electroencephalography New York's, (maybe) "
         "don't \"quoted\" it 's a $5 million 50% plan re-election jetlagged").split()

# Hand-written texts by group. Each stands alone, again in NFC and NFD where that differs, and in mixtures.
POOLS = {
    "accents": """café naïve|résumé|Ångström|façade|jalapeño|Zürich|smörgåsbord|São Paulo|crème brûlée|œuvre Œuvre
        Ærø Łódź|žluťoučký kůň|Čeština|Őrült tűzfal|pingüino|Íslenska Þór ÐAÐ|coöperate|Dvořák|Øresund|ĳsland Ĳ
        ﬁancé ﬂag ﬀ|ŀ Ŀ|ǅ Ǆ ǆ|ſtraße|\u212bngstr\u00f6m \u2126 \u212a \u00b5|q\u0303\u0308|\u0344|\u0301accent first
        a\u0301\u0301\u0301b|o\u0328\u0304 \u01ed|e\u0323\u0302 \u1ec7|n\u0303o|\u00e9\u0301""",
    "turkish_german": """İstanbul|ISPARTA ılık|IĞDIR|DİYARBAKIR'da|kırmızı ŞİŞLİ|ı İ i̇ I|Straße|STRASSE GROẞ groß
        Füße|weiß Fußball|ÜBER Müßiggang|Äpfel Öl Übung|ß|ẞ""",
    "greek": """ΟΔΥΣΣΕΥΣ|Ὀδυσσεύς|ΣΑΣ σας|Σίσυφος ΣΊΣΥΦΟΣ|ΛΌΓΟΣ λόγος|ΑΣ. ΑΣ' ΑΣΑ|Σ ς σ ΣΣ|Ἀθῆναι ᾳ ᾼ ᾍ ᾧ|ΐ Ϊ́
        ϐ ϑ ϕ|\u037e \u0387 \u1fef \u1ffd|α\u0301 \u1f71 \u03ac|Ελλάδα|Ω ω Ώ|ͅα""",
    "cyrillic": """Москва МОСКВА|Йошкар-Ола|ёлка ЁЖ|Київ Україна|Ґанок їжак|Љубљана Њ Ћ Ѝ ѝ
        Съешь ещё этих мягких французских булок|А́нна|Ѳ ѣ Ѵ҃|Ӂ ӂ Ԁ|Ꙋ ꙋ Ꙁ|Җәлил Қазақстан""",
    "vietnamese": """Việt Nam|đường phở|Nguyễn Huệ|Hà Nội|tiếng Việt|ữ Ặ ấ ẵ ổ|ĐỨC|Cộng hòa xã hội chủ nghĩa
        quốc ngữ thuở|Trần Hưng Đạo|ở đâu?|ợ ỵ ỹ""",
    "cjk": """中文|漢字|東京都|北京大学|我爱 machine learning|2023年5月|\U00020000|\U00020bb7野家|\U0002a6a5|中a文b
        GPU加速training|\U00020000\U0002a6df\U0002a700\U0002b73f|a\U0002b740b a\U0002b81fb|a\U0002b820b a\U0002b91fb
        a\U0002b920b a\U0002ceafb|\U0002f800\U0002fa1d|a\U00030000b|\uf900\ufa11 a\ufa0eb|々 〇 〆|㍿ ㊀ ㋿|\u3400\u4dbf
        \u4e00\u9fff|「引用」『本』、。！？|ＡＢＣ１２３ａｂｃ|臺灣，中國。|⼀⼈ ⺀""",
    "kana": """がぎぐげご|パピプペポ|ガンダム|ひらがな カタカナ|ﾊﾟﾋﾟ ｶﾞ|ヴァイオリン ゔ|ゞ ヾ ヿ ゟ|っ ッ ー ・
        東京タワーです。|「こんにちは」|か\u3099 は\u309a|か゛ は゜|スーパーマン2|ㇰ ㇿ|𛀀""",
    "hangul": """한국어|서울특별시|안녕하세요|대한민국|값 뷁 닭|가 힣|ㄱㄴㄷ ㅏ|\u1100\u1161\u11a8|각 각|영화 movie 영화
        한국의 수도는 서울이다.|\u3131 \uffa1|〮〯 \u302e\u302f""",
    "arabic_hebrew": """مرحبا|السَّلَامُ عَلَيْكُم|ٱلْعَرَبِيَّة|لا إله|١٢٣ ۱۲۳|؟ ، ؛ ـــ|کتاب پنجاب|آب أإؤئ|\ufefb \ufdfa
        שָׁלוֹם|עברית|בְּרֵאשִׁית|ירושלים ״ ׳ ־|צה״ל|\ufb2a \ufb4f|\u05e9\u05c1|\u200fעברית\u200e english|ܫܠܡܐ ދިވެހި""",
    "indic_thai": """สวัสดี|ภาษาไทย|กรุงเทพมหานคร|น้ำ ที่|๑๒๓ ฿ ๚๛|ພາສາລາວ|မြန်မာ|ភាសាខ្មែរ|བོད་སྐད།|हिन्दी|नमस्ते|क़ \u0958
        लड़का|भारत गणराज्य|বাংলা ো|தமிழ் ொ|తెలుగు|ਪੰਜਾਬੀ|ગુજરાતી|ಕನ್ನಡ|മലയാളം|සිංහල|१२३ । ॥|क्‍ष क्‌ष""",
    "emoji": """😀|👍🏽 👍🏿|👩\u200d👩\u200d👧\u200d👦|❤️ ❤ ❤︎|🏳️\u200d🌈|🇩🇪🇫🇷|1️⃣ #️⃣|☺️!|good😀movie|😀😀😀|🤷🏻\u200d♂️
        🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f|🧑\u200d🚀|🫠 🥲 🪗|♥ ★ ☆ ✓ ✔ ✗|:-) ;-P <3 xD|¯\\_(ツ)_/¯
        𝒜𝓑𝕮 𝟙𝟚𝟛|𝄞 𝅘𝅥𝅮|𐍈 𐌰 𐐀 𐐨|🄰 🅰 ①②|\U0001f1e6a|a\ufe0fb\U000e0100c""",
    "unicode_punct": """1990–1995|wait — what|― ‐ ‑ ‒ ⸺|−5 − 3|“quoted” ‘single’|„low“ ‚s‘ «fr» ‹g›|end…|• item · dot|¡Hola! ¿Qué?
        § 5 ¶ 2|† ‡ ‰ ′ ″ ‴|€5 £5 ¥5 ¢5|₹5 ₿5 ¤ ₩ ₽|20°C ±3 2×3 6÷2|¬ © ® ™|← → ∞ √ ∑|≠ ≮ ≯ ≤ ≥|a≠b|。 、 「 」|！ ？ ， ： ；
        （x） ～ ＄ ￥ ＾ ｀ ￣|․ ‥ ⁄ ½ ¼ ⅓|﹏ ︰ ﹪|x² H₂O №5|ª º|¨ ¯ ´ ¸ ˆ ˜|don’t rock‘n’roll|ʼn ʻokina ʹ|⟨x⟩ ⌈y⌉ ⦃z⦄
        a‿b⁀c﹍d＿e|᙭ a᙭b|⸮ a⸮b a\u2e43b|\u055a \u058a \u0964 \u1805""",
    "spaces": """a\tb|a\nb|a\r\nb|a\rb|\ta\t|\n\n\n|a\u000bb|a\u000cb|a\u0085b|a\u00a0b|a\u1680b|a\u2000b\u2001c\u2002d\u2003e
        a\u2004b\u2005c\u2006d\u2007e|a\u2008b\u2009c\u200ad|a\u2028b|a\u2029b|a\u202fb|a\u205fb|a\u3000b|a\u180eb|a\u200bb
        a\u2800b|a\u3164b|a\u001cb\u001db\u001ec\u001fd|\u2003\u2003x\u3000\u3000|\u00a0|\u3000|\u2028|x \t\r\n y|  lead and trail  """,
    "numbers_urls": """3.14|1,234,567.89|-5|+44 20 7946 0958|1e-9|0x1F|50%|$9.99|12:30|2022-12-07|1st 2nd 3rd|10^-5|½|1/2|v4.30.2
        192.168.0.1|2001:db8::1|https://www.example.com/a/b?x=1&y=2#z|http://例え.jp|www.example.co.uk|user.name+tag@example.com
        @user #hashtag #OscarsSoWhite|/usr/lib/x86_64|C:\\Windows\\x|f(x)=x**2|a_b_c __init__|snake_case camelCase|C++ C# .NET
        1234567890123456789012345678901234567890|R&B AT&T|24/7|#1|A.B.C.|x86-64|ISBN 978-3-16-148410-0|&amp; &#39; <br />""",
    "contractions": """don't|Don't|can't've|I'm|we're|it's|'tis|rock'n'roll|o'clock|O'Neil's|doesn 't|ca n't|wo n't|gonna|y'all
        I’m|it’s|’90s|'90s|--|...|well--then|state-of-the-art|(a)|[b]|{c}|"d"|``e''|a/b|and/or|e.g.|i.e.,|U.S.A.|Mr. X|why?!|!!!""",
    "special_tokens": """[CLS]|[SEP]|[MASK]|[UNK]|[PAD]|[cls]|[sep]|[mask]|[unk]|[pad]|[Cls]|the [MASK] sat|foo[CLS]bar
        [CLS] the film [SEP] is good [SEP]|[MASK]s|[MASK][MASK]|un[MASK]able|[[MASK]]|([SEP])|[SEP].|[ CLS ]|[CLS|CLS]|[MASK ]
        [C\u00adLS]|[CLS]\u0301|[C\u0301LS]|\u200b[SEP]\u200b|É[SEP]É|[PAD][PAD][PAD]|[unused0] [unused1]|[UNK]x|##ing|a ##b
        ##|# #|[MASK]\n[MASK]|中[SEP]文|[sep][SEP][Sep]|\\[CLS\\]|[CLS]]|[[CLS]|&[PAD]&""",
    "blank": """| |  |\t|\n|\u3000|\u200b|\u00ad|\ufffd|\u0000|\u0301|\ufeff|.|?!|...|---|"'"|()[]{}|`|^|\u2026""",
}

CJK_RANGES = [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
              (0x2B740, 0x2B81F), (0x2B820, 0x2B91F), (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F)]

CONTROL = [chr(c) for c in itertools.chain(
    (c for c in range(0x20) if c not in (9, 10, 13)), range(0x7F, 0xA0),
    [0xAD, 0x600, 0x61C, 0x6DD, 0x70F, 0x180E, 0x8E2, 0xFEFF, 0xFFFD, 0xFFFC, 0xFFFE, 0xFFFF, 0x378],
    range(0x200B, 0x2010), range(0x202A, 0x202F), range(0x2060, 0x2070), range(0xFFF9, 0xFFFC),
    [0xE000, 0xF8FF, 0x110BD, 0x1D173, 0xE0001, 0xE0041, 0xF0000, 0x10FFFD])]

BLOCKS = [  # first and last code point of the ranges random texts are drawn from
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x17F), (0x180, 0x24F), (0x250, 0x2AF), (0x2B0, 0x2FF), (0x300, 0x36F),
    (0x370, 0x3FF), (0x400, 0x4FF), (0x500, 0x52F), (0x531, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F),
    (0x780, 0x7FF), (0x840, 0x8FF), (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xAFF), (0xB00, 0xBFF), (0xC00, 0xCFF),
    (0xD00, 0xDFF), (0xE00, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF),
    (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1400, 0x167F), (0x1680, 0x16FF), (0x1700, 0x177F), (0x1780, 0x17FF),
    (0x1800, 0x18AF), (0x1900, 0x1AFF), (0x1B00, 0x1C7F), (0x1C80, 0x1CBF), (0x1D00, 0x1DFF), (0x1E00, 0x1EFF),
    (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x20D0, 0x20FF), (0x2100, 0x218F), (0x2190, 0x22FF),
    (0x2300, 0x23FF), (0x2460, 0x25FF), (0x2600, 0x27BF), (0x27C0, 0x2BFF), (0x2C00, 0x2D7F), (0x2D80, 0x2E7F),
    (0x2E80, 0x2FDF), (0x3000, 0x303F), (0x3040, 0x30FF), (0x3100, 0x31FF), (0x3200, 0x33FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xA640, 0xA6FF), (0xA700, 0xA7FF), (0xA800, 0xABFF), (0xAC00, 0xD7A3),
    (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE6F), (0xFE70, 0xFEFF), (0xFF00, 0xFFEF),
    (0x10000, 0x101FF), (0x10280, 0x103DF), (0x10400, 0x104FF), (0x10800, 0x10FFF), (0x11000, 0x11FFF),
    (0x12000, 0x123FF), (0x13000, 0x1342F), (0x16800, 0x16FFF), (0x1B000, 0x1B2FF), (0x1D000, 0x1D1FF),
    (0x1D400, 0x1D7FF), (0x1E000, 0x1E95F), (0x1EE00, 0x1EEFF), (0x1F000, 0x1F2FF), (0x1F300, 0x1F64F),
    (0x1F680, 0x1FAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B81F), (0x2B820, 0x2CEAF), (0x2F800, 0x2FA1F), (0xE0000, 0xE01EF)]


def pool(group):
    """The hand-written texts of a group: separated by bars, and by line ends that the indentation follows."""
    return [t for line in POOLS[group].split("\n        ") for t in line.split("|")]


# ---------------------------------------------------------------- texts

def mixture(rng, items):
    """One to six items, some of them English words, side by side or glued together, in a random form."""
    text = "".join(rng.choice(items if rng.random() < 0.7 else WORDS) + rng.choice(["", " ", " ", " ", ", ", "-", "\t"])
                   for _ in range(rng.randint(1, 6)))
    form = rng.choice(["", "", "NFC", "NFD", "upper", "lower", "title"])
    if form.startswith("NF"):
        return unicodedata.normalize(form, text)
    return getattr(text, form)() if form else text


def from_pool(group):
    def fixed():
        for text in pool(group):
            yield from dict.fromkeys([text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)])

    return fixed, lambda rng: mixture(rng, pool(group))


def cjk_fixed():
    yield from from_pool("cjk")[0]()
    for first, last in CJK_RANGES:
        yield from (" ".join(f"a{chr(c)}b" for c in edge) for edge in ((first - 1, first), (last, last + 1)))


def ascii_fixed():
    for c in (chr(c) for c in range(0x21, 0x7F) if not chr(c).isalnum()):
        yield from (c, f"a{c}b {c}{c} word{c}")


def ascii_random(rng):
    chars = [chr(c) for c in range(0x20, 0x7F)]
    return "".join(rng.choice(chars) for _ in range(rng.randint(3, 60)))


def control_fixed():
    for c in CONTROL:
        yield f"{c}mo{c}vie {c} a{c}{c}"


def control_random(rng):
    word = rng.choice(COMMON + WORDS)
    at = rng.randint(0, len(word))
    return word[:at] + rng.choice(CONTROL) + word[at:] + rng.choice(CONTROL + [" "]) + rng.choice(COMMON)


def long_word_fixed():
    for n in (99, 100, 101, 150):
        yield from ("a" * n, "film " + "ab" * (n // 2) + "a" * (n % 2) + " end", "\u00e9" * n, "e\u0301" * n, "\u0438" * n,
                    "\U0001f600" * n, "x" * (n - 1) + "\u00ad" * 5 + "y", "x" * n + ".", "-" * n, "\u4e2d" * n)
    for n in (33, 34, 49, 50, 51):
        yield from ("\uac00" * n, "\uac01" * n)  # two and three jamo a syllable


def long_word_random(rng):
    parts = ["a", "ing", "un", "\u00e9", "e\u0301", "o\u0323\u0302", "\u0438\u0306", "\uac00", "\uac01", "\u304c", "1", "\u00df"]
    parts = rng.sample(parts, rng.randint(1, 4))
    word = "".join(rng.choice(parts) for _ in range(rng.choice([33, 49, 50, 51, 70, 98, 99, 100, 101, 102, 130])))
    return rng.choice(["", "the "]) + word + rng.choice(["", " end", ", end", "s"])


def stacked_marks(rng):
    return "".join(c + "".join(chr(rng.randint(0x300, 0x36F)) for _ in range(rng.randint(0, 8)))
                   for c in " ".join(rng.sample(COMMON, 4)))


def random_text(rng):
    """Words from one to four blocks, and Latin ones, between spaces, punctuation, joiners or nothing."""
    blocks = rng.sample(BLOCKS, rng.randint(1, 4))
    text = ""
    for _ in range(rng.randint(1, 10)):
        if rng.random() < 0.3:
            text += rng.choice(WORDS + COMMON)
        else:
            first, last = rng.choice(blocks)
            word = (chr(rng.randint(first, last)) for _ in range(rng.choice([1, 1, 2, 3, 5, 8])))
            text += "".join(c for c in word if unicodedata.category(c) not in ("Cn", "Cs"))
        text += rng.choice([" "] * 8 + ["", "", "\t", ".", "-", "\u200d", "\u00a0", "\u3000"])
    return text


def sweep(rng, scale):
    """Code points between two letters: gone, a space, a piece of its own, or part of the word? Every assigned mark,
    punctuation, separator, control and format character; every one that decomposes or has a lower case (but Hangul
    syllables); every symbol of the basic plane. In order; below scale 1 a shuffled share of them."""
    special, letters, symbols = [], [], []
    for c in map(chr, range(0x110000)):
        category = unicodedata.category(c)
        if category in ("Cn", "Co", "Cs") or "\uac00" <= c <= "\ud7a3":
            continue
        if category[0] in "MPZC":
            special.append(c)
        elif c.lower() != c or unicodedata.normalize("NFD", c) != c:
            letters.append(c)
        elif category[0] == "S" and c <= "\uffff":
            symbols.append(c)
    for chars, size in (special, 40), (letters, 40), (symbols, 60):  # 128 pieces hold a chunk of that size
        if scale < 1:
            rng.shuffle(chars)
            chars = chars[:round(scale * len(chars))]
        for i in range(0, len(chars), size):
            yield " ".join(f"a{c}b" for c in chars[i:i + size])


# ---------------------------------------------------------------- cases

def read_glue(folder):
    """Rows of text columns by task, of the tasks that are there."""
    rows = {}
    for task, columns in SENTENCES.items():
        rows[task] = []
        for path in sorted((folder / task).glob("*.tsv*")):
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="\n") as file:
                lines = file.read().split("\n")
            at = [lines[0].split("\t").index(c) for c in columns]
            rows[task] += [[line.split("\t")[i] for i in at] for line in lines[1:] if line]
    return {task: texts for task, texts in rows.items() if texts}


def truncation_cases(rng, fixed, n):
    """Pairs and single texts of known length around the limit."""
    def words(count, offset):
        return " ".join(itertools.islice(itertools.cycle(COMMON[offset:] + COMMON[:offset]), count))

    if fixed:
        for limit in (128, 32, 8, 5, 4, 3):
            b = limit - 3
            h = b // 2
            for la, lb in dict.fromkeys([(b, b), (b + 1, b), (b, b + 1), (h, h), (h + 1, h), (h, h + 1), (h + 1, h + 1), (b, 1),
                                         (1, b), (b + 5, h), (h, b + 5), (0, b + 2), (b + 2, 0), (3 * b + 1, 3 * b), (3 * b, 3 * b + 1)]):
                yield Case("truncation", words(la, 0), words(lb, 50), limit)
            for length in (limit - 3, limit - 2, limit - 1, limit + 9):
                yield Case("truncation", words(length, 0), None, limit)
    for _ in range(n):
        limit = rng.choice([128, 64, 33, 32, 16, 8, 7, 6, 5, 4, 3])
        text = [" ".join(rng.choice(COMMON + WORDS) for _ in range(rng.randint(0, rng.choice([limit // 2, limit, 3 * limit]))))
                for _ in range(2)]
        yield Case("truncation", text[0], text[1] if rng.random() < 0.8 else None, limit)


def long_text(rng, rows):
    kind = rng.randrange(6)
    if kind < 3:
        return " ".join(rng.choice(rng.choice(rows[rng.choice(list(rows))])) for _ in range(rng.choice([10, 30, 80])))
    if kind == 3:
        return rng.choice(["a", "word", "\u00e9", "\uac00"]) * rng.randint(1000, 4000)
    if kind == 4:
        return "".join(rng.choice("\u4e2d\u6587\u6771\u4eac\U00020000\u304c ") for _ in range(rng.randint(500, 2000)))
    return "".join(rng.choice(".,;!? '\"-()") for _ in range(rng.randint(500, 2000)))


# Random cases at scale 1, per task or group where there are several; hand-written ones come on top.
COUNTS = {"real": 200, "real_pair": 75, "mixture": 6, "long_text": 16, "truncation": 40, "padding": 30, "random": 300,
          "random_pair": 60}


def make_cases(seed, scale, fixed, glue):
    rng = random.Random(seed)
    count = {k: round(scale * n) for k, n in COUNTS.items()}
    rows = read_glue(glue)

    for task in rows:
        for row in rng.sample(rows[task], count["real"]):
            yield Case(f"real/{task}", rng.choice(row))
    for task in rows:
        if len(SENTENCES[task]) == 2:
            for row in rng.sample(rows[task], count["real_pair"]):
                yield Case(f"real_pair/{task}", row[0], row[1], rng.choice([128, 128, 128, 128, 64, 32, 8, 5, 3]))

    groups = {group: from_pool(group) for group in POOLS}
    groups["cjk"] = (cjk_fixed, groups["cjk"][1])
    groups |= {"stacked_marks": (tuple, stacked_marks), "ascii_punct": (ascii_fixed, ascii_random),
               "control": (control_fixed, control_random), "long_word": (long_word_fixed, long_word_random)}
    for group, (hand_written, draw) in groups.items():
        if fixed:
            for text in hand_written():
                yield Case(group, text)
        for _ in range(count["mixture"] if fixed else 5 * count["mixture"]):
            yield Case(group, draw(rng), None, rng.choice([128, 128, 128, 32, 8]))
    if fixed:
        for text, pair in itertools.product(["", " ", "film"], repeat=2):
            yield Case("blank", text, pair)

    for _ in range(count["long_text"]):
        pair = long_text(rng, rows) if rng.random() < 0.4 else None
        yield Case("long_text", long_text(rng, rows), pair, rng.choice([128, 128, 512, 32]))
    yield from truncation_cases(rng, fixed, count["truncation"])
    everything = [text for group in POOLS for text in pool(group)]
    for _ in range(count["padding"]):
        pair = mixture(rng, everything) if rng.random() < 0.5 else None
        yield Case("padding", mixture(rng, everything), pair, rng.choice([128, 32, 8, 5, 3]), True)
    for text in sweep(rng, scale):
        yield Case("sweep", text)
    for _ in range(count["random"]):
        yield Case("random", random_text(rng), None, rng.choice([128, 128, 128, 32, 8, 5, 3]))
    for _ in range(count["random_pair"]):
        yield Case("random_pair", random_text(rng), random_text(rng), rng.choice([128, 128, 32, 8, 5, 3]))


# ---------------------------------------------------------------- answers

def load(vocab):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(vocab, Path(folder) / "vocab.txt")
        (Path(folder) / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 512}')
        return [c.from_pretrained(folder) for c in (transformers.BertTokenizerFast, transformers.BertTokenizer)]


def encode(tokenizer, case):
    out = tokenizer([case.text], None if case.pair is None else [case.pair], truncation="longest_first",
                    max_length=case.max_length, padding="max_length" if case.pad else False)
    ids = out["input_ids"][0]
    answer = {"ids": ids, "token_type_ids": out["token_type_ids"][0]}
    if case.pad:
        answer["attention_mask"] = out["attention_mask"][0]
    return {**answer, "tokens": tokenizer.convert_ids_to_tokens(ids)}


class Explainer:
    """Says why the two tokenizers differ on a case."""

    def __init__(self, fast, slow):
        self.fast, self.slow = fast, slow

    @lru_cache(maxsize=None)
    def differs(self, c):
        backend = self.fast.backend_tokenizer
        text = f"a{c}b"
        fast = [w for w, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]
        return fast != self.slow.basic_tokenizer.tokenize(text)

    def note(self, case):
        chars = sorted({c for c in case.text + (case.pair or "") if self.differs(c)})
        whole = [[t.tokenize(s) for s in (case.text, case.pair or "")] for t in (self.fast, self.slow)]
        if whole[0] == whole[1]:
            return "truncation: of an odd budget, fast gives the longer side the extra token (the second if equal), slow the first"
        kinds = {}
        for c in chars:
            kinds.setdefault(self.kind(c), []).append(f"U+{ord(c):04X}")
        return "; ".join(f"{kind}: {' '.join(points)}" for kind, points in sorted(kinds.items())) or "unexplained"

    @staticmethod
    def kind(c):
        category = unicodedata.category(c)
        if 0x2B820 <= ord(c) <= 0x2B91F:
            return "CJK extension E that fast does not split (its range starts at U+2B920)"
        if category == "Cn":
            return "unassigned: fast keeps, slow drops"
        if c == "\u1734":
            return "mark until Unicode 13: fast drops, slow keeps"
        if c == "\u166d":
            return "punctuation until Unicode 11: fast splits, slow keeps"
        if c == "\U000111c9":
            return "punctuation until Unicode 10: fast splits, slow drops"
        if category == "Mn":
            return "mark newer than Unicode 8: fast keeps, slow drops"
        if category == "Cf":
            return "format character newer than Unicode 8: fast keeps, slow drops"
        if category[0] == "P":
            return "punctuation newer than Unicode 8: fast keeps, slow splits"
        return f"category {category}, decomposition unknown to fast"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--scale", type=float, default=1.0, help="number of random cases, relative to the default")
    parser.add_argument("--no-fixed", action="store_true", help="leave the hand-written texts out, keep mixtures of them")
    parser.add_argument("--vocab", type=Path, required=True, help="bert-base-uncased's vocab.txt")
    parser.add_argument("--glue", type=Path, required=True,
                        help="folder of task folders with TSV files, also gzipped; tasks that are not there are left out")
    args = parser.parse_args()
    logging.disable(logging.WARNING)

    fast, slow = load(args.vocab)
    shutil.copy(args.vocab, args.out / VOCABULARY)
    explainer = Explainer(fast, slow)
    cases, disagreements = [], []
    for case in dict.fromkeys(make_cases(args.seed, args.scale, not args.no_fixed, args.glue)):
        a, b = encode(fast, case), encode(slow, case)
        if a == b:
            cases.append({**case.head(), "expected": a})
        else:
            disagreements.append({**case.head(), "note": explainer.note(case), "fast": a, "slow": b})

    head = {
        "vocabulary": VOCABULARY,
        "vocabulary_sha256": hashlib.sha256(args.vocab.read_bytes()).hexdigest(),
        "seed": args.seed,
        "made_with": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__,
                      "unicodedata": unicodedata.unidata_version},
    }
    dump = lambda value: json.dumps(value, separators=(",", ":"))
    with open(args.out / "tokenizer.json", "w", encoding="ascii", newline="\n") as out:
        out.write("{\n" + "".join(f"{dump(k)}:{dump(v)},\n" for k, v in head.items()))
        out.write('"cases":[\n' + ",\n".join(map(dump, cases)) + "\n],\n")
        out.write('"disagreements":[\n' + ",\n".join(map(dump, disagreements)) + "\n]\n}\n")
    print(f"{len(cases)} cases, {len(disagreements)} disagreements", file=sys.stderr)


if __name__ == "__main__":
    main()
