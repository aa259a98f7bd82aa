# Writes OUT, a source file that holds the prose FILES as text: cmake -DOUT=... -DFILES=a.md,b.md -P embed_prose.cmake
string(REPLACE "," ";" FILES "${FILES}")
set(entries "")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} content)
  string(APPEND entries "    {\"${name}\", R\"PROSE(${content})PROSE\"},\n")
endforeach()
file(WRITE ${OUT} "#include <string_view>\n#include <utility>\n#include <vector>\n\nnamespace costeff {
extern const std::vector<std::pair<std::string_view, std::string_view>> kProseFiles;
const std::vector<std::pair<std::string_view, std::string_view>> kProseFiles = {\n${entries}};\n}  // namespace costeff\n")
