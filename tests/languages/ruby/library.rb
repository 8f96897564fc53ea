require "bigdecimal"
require "date"
require "digest"
require "json"
require "open3"
require "prime"
require "set"
require "tempfile"
require "time"
require "timeout"

total = Queue.new
10.times.map { |n| Thread.new { total << n } }.each(&:join)
puts "threads #{total.size}"
puts "subprocess #{`echo child`.strip}"
said, status = Open3.capture2("tr a b", stdin_data: "a")
puts "open3 #{said} #{status.success?}"
Tempfile.create("note") do |file|
  file.write("kept")
  file.rewind
  puts "tempfile #{file.read}"
end
reader, writer = IO.pipe
pid = fork { writer.puts 49 }
Process.wait(pid)
puts "fork #{reader.gets}"
puts "json #{JSON.generate({ a: Prime.first(3) })} #{Digest::SHA256.hexdigest('x')[0, 8]}"
puts "ractor #{Fiber.new { 3 }.resume} #{Date.new(2024, 2, 28) + 2}"
begin
  Timeout.timeout(0.05) { sleep }
rescue Timeout::Error
  puts "timeout"
end
