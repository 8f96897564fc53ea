#include <string>

std::string word();
