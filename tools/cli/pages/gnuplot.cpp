#include "tools/cli/pages/gnuplot.h"

#include "tensor/error.h"
#include "tools/cli/child_process.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

constexpr const char* kPackage = "gnuplot-nox";

std::string preamble(const Figure& figure) {
  std::string out = fmt::format(
      "set encoding utf8\n"
      "set terminal svg size {},{} dynamic noenhanced font 'sans-serif,13' background '{}'\n",
      figure.width, figure.height, kInks[0].light);
  for (const Ink& ink : kInks) out += fmt::format("{} = '{}'\n", ink.name, ink.light);
  return out +
         "set border 3 lc rgb muted\n"
         "set tics nomirror out scale 0.5 textcolor rgb muted\n"
         "set grid ytics lt 1 lw 1 lc rgb rule\n"
         "set key textcolor rgb ink samplen 1.6 spacing 1.15\n"
         "set lmargin at screen 0.18\n"
         "set rmargin at screen 0.96\n"
         "set style fill solid noborder\n";
}

}  // namespace

std::string gnuplot_string(std::string_view text) {
  std::string out = "'";
  for (const char c : plain_text(text)) {
    out += c;
    if (c == '\'') out += c;
  }
  return out + "'";
}

std::string gnuplot_tic(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == '%') out += c;
  }
  return gnuplot_string(out);
}

void require_gnuplot() {
  run_child({"gnuplot", "--version"}, kPackage, "");
}

bool has_gnuplot() {
  try {
    require_gnuplot();
  } catch (const Error&) {
    return false;
  }
  return true;
}

std::string draw(const Figure& figure) {
  const ChildOutcome drawn =
      run_child({"gnuplot", "--default-settings", "-"}, kPackage,  // no user's settings
                preamble(figure) + figure.script);
  if (drawn.code != 0 || drawn.out.find("</svg>") == std::string::npos) {
    fail("gnuplot could not draw the picture {} (exit status {}): {}", figure.name, drawn.code,
         plain_text(drawn.err, 300));
  }
  return drawn.out;
}

}  // namespace costeff
