#include "data/unicode.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uset.h>
#include <unicode/utf16.h>

#include <array>
#include <cstdint>

#include "tensor/error.h"

namespace costeff {

namespace {

UChar32 as_icu(char32_t c) {
  return static_cast<UChar32>(c);
}

// The general category a character had in Unicode 8.0, as U_MASK of it; later characters are unassigned.
std::uint32_t category_mask(char32_t c) {
  switch (c) {
    case 0x166D:   // now So
    case 0x111C9:  // now Mn
      return U_GC_PO_MASK;
    case 0x1734:  // now Mc
      return U_GC_MN_MASK;
    case 0x1885:  // now Mn
    case 0x1886:
      return U_GC_LO_MASK;
    case 0xA9BD:  // now Mn
      return U_GC_MC_MASK;
    default:
      break;
  }
  const std::uint32_t mask = U_GET_GC_MASK(as_icu(c));
  if ((mask & (U_GC_MN_MASK | U_GC_P_MASK | U_GC_CF_MASK)) == 0) return mask;
  UVersionInfo age;
  u_charAge(as_icu(c), age);
  return age[0] <= 8 ? mask : U_GC_CN_MASK;
}

// NFD that leaves alone the characters that came after Unicode 12.1.
const UNormalizer2* nfd() {
  static const UNormalizer2* instance = [] {
    UErrorCode code = U_ZERO_ERROR;
    constexpr std::u16string_view kKnown = u"[:age=12.1:]";
    USet* known = uset_openPattern(kKnown.data(), static_cast<int32_t>(kKnown.size()), &code);
    if (U_SUCCESS(code)) uset_freeze(known);
    const UNormalizer2* made = unorm2_openFiltered(unorm2_getNFDInstance(&code), known, &code);
    if (U_FAILURE(code)) fail("ICU has no NFD normaliser: {}", u_errorName(code));
    return made;
  }();
  return instance;
}

}  // namespace

bool is_bert_dropped(char32_t c) {
  if (c == 0 || c == 0xFFFD) return true;
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return (category_mask(c) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) != 0;
}

bool is_bert_space(char32_t c) {
  switch (c) {
    case '\t':
    case '\n':
    case '\r':
    case ' ':
    case 0x00A0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000:
      return true;
    default:
      return c >= 0x2000 && c <= 0x200A;
  }
}

bool is_bert_ideograph(char32_t c) {
  return (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) ||
         (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_bert_mark(char32_t c) {
  return c >= 0x300 && (category_mask(c) & U_GC_MN_MASK) != 0;
}

bool is_bert_punctuation(char32_t c) {
  if (c < 0x80)
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  return (category_mask(c) & U_GC_P_MASK) != 0;
}

void append_lower_case(char32_t c, std::u32string& out) {
  if (c == 0x130) {
    out += {U'i', char32_t{0x307}};
  } else {
    out += static_cast<char32_t>(u_tolower(as_icu(c)));
  }
}

void decompose(std::u32string& text) {
  std::u16string source;
  source.reserve(2 * text.size());
  for (const char32_t c : text) {
    if (c > 0xFFFF) {
      source += static_cast<char16_t>(U16_LEAD(c));
      source += static_cast<char16_t>(U16_TRAIL(c));
    } else {
      source += static_cast<char16_t>(c);
    }
  }
  std::u16string out(2 * source.size() + 16, u'\0');
  for (;;) {
    UErrorCode code = U_ZERO_ERROR;
    const int32_t length = unorm2_normalize(nfd(), source.data(), static_cast<int32_t>(source.size()),
                                            out.data(), static_cast<int32_t>(out.size()), &code);
    if (U_SUCCESS(code)) {
      out.resize(static_cast<std::size_t>(length));
      break;
    }
    if (code != U_BUFFER_OVERFLOW_ERROR) fail("ICU cannot normalise a text: {}", u_errorName(code));
    out.resize(static_cast<std::size_t>(length));
  }
  text.clear();
  for (std::size_t i = 0; i < out.size();) {
    char32_t c;
    U16_NEXT(out.data(), i, out.size(), c);
    text += c;
  }
}

void append_utf8(char32_t c, std::string& out) {
  const auto byte = [&](char32_t value) { out += static_cast<char>(static_cast<unsigned char>(value)); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xC0 | c >> 6);
    byte(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    byte(0xE0 | c >> 12);
    byte(0x80 | (c >> 6 & 0x3F));
    byte(0x80 | (c & 0x3F));
  } else {
    byte(0xF0 | c >> 18);
    byte(0x80 | (c >> 12 & 0x3F));
    byte(0x80 | (c >> 6 & 0x3F));
    byte(0x80 | (c & 0x3F));
  }
}

}  // namespace costeff
