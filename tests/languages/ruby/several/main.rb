require_relative "lib/part"

puts "#{word} #{ARGV.join("|")} #{ENV["GREETING"]}"
