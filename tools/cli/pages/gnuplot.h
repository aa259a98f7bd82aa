// Pictures by gnuplot, which is run as a child process (Debian's package gnuplot-nox).
//
//   Figure figure{.name = "loss"};
//   figure.script = fmt::format("plot [0:1] x with lines lc rgb accent title {}\n", gnuplot_string(name));
//   figure.svg = draw(figure);
//
// chart.h makes scripts from numbers.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace costeff {

// A colour of the report. Scripts use it by its name, as in `lc rgb accent`; a page replaces `light` by the
// CSS variable --NAME, which is `dark` on a dark screen.
struct Ink {
  const char* name;
  const char* light;
  const char* dark;
};

constexpr std::array<Ink, 8> kInks = {{
    {"paper", "#ffffff", "#1a2129"},
    {"ink", "#1f2933", "#e6eaef"},
    {"muted", "#52606d", "#a3afbb"},
    {"rule", "#d8dee6", "#36414d"},
    {"accent", "#0b7a75", "#3cc7bd"},  // COST-EFF
    {"orange", "#c2410c", "#fb9a5b"},  // the fine-tuned model
    {"violet", "#5b4fd1", "#aca5ff"},  // the teaching assistant
    {"wash", "#b9dcd9", "#245652"},    // behind the accent: what is not smoothed
}};

// The text as a string of gnuplot's, in which nothing is expanded.
std::string gnuplot_string(std::string_view text);
// As the label of a tic, where gnuplot would replace "%g" by the tic's place.
std::string gnuplot_tic(std::string_view text);

struct Figure {
  std::string name;      // of its file, without .svg
  std::string heading;   // what it shows
  std::string text;      // how to read it, and what to look for
  std::string equation;  // what it tests; may be empty
  std::string missing;   // instead of a picture, a sentence about what is not there
  int width = 400;       // in CSS pixels; legible at 330
  int height = 300;
  std::string script;  // gnuplot's
  std::string svg;     // what gnuplot drew
};

// The picture as gnuplot writes it. Throws Error if gnuplot is not installed, or says that the script is
// wrong.
std::string draw(const Figure& figure);
// Before a long computation. Throws Error if gnuplot is not installed.
void require_gnuplot();
bool has_gnuplot();

}  // namespace costeff
