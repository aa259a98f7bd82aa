// What gnuplot draws, made fit for readers: a title and a description for those who cannot see it, and in a
// page the page's colours.
#pragma once

#include <string>
#include <string_view>

#include "tools/cli/pages/gnuplot.h"

namespace costeff {

// A file of its own, in the light colours.
std::string svg_file(const Figure& figure);
// An element of an HTML page that defines the variables --NAME of kInks. Its ids begin with the figure's
// name, so that several can stand in one page.
std::string svg_element(const Figure& figure);

}  // namespace costeff
