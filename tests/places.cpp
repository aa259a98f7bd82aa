// Where the checkout and the program are: compiled alone, so that no other test depends on the build's place.
#include <string>

namespace costeff::testing {

std::string source_dir();
std::string binary();

std::string source_dir() {
  return COSTEFF_SOURCE_DIR;
}
std::string binary() {
  return COSTEFF_BINARY;
}

}  // namespace costeff::testing
