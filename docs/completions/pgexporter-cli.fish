# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pgexporter_cli_global_optspecs
    string join \n c/config= h/host= p/port= U/user= P/password= L/logfile= v/verbose F/format= C/compress= E/encrypt= ?/help V/version
end

function __fish_pgexporter_cli_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pgexporter_cli_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pgexporter_cli_using_subcommand
    set -l cmd (__fish_pgexporter_cli_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -s V -l version -d 'Print version'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "ping" -d 'Check that the exporter answers'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "shutdown" -d 'Stop the exporter'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "status" -d 'Show the servers, and whether they answer'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "conf" -d 'Show and change the configuration'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "clear" -d 'Clear cached metrics'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "targets" -d 'List the servers with their state, as a table'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "scrape" -d 'Scrape a server once, and show how long each query takes'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "log" -d 'Change the level of the log until the next reload'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "encrypt" -d 'Encrypt a file with the master key'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "decrypt" -d 'Decrypt a file that `encrypt` wrote'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_needs_command" -f -a "check" -d 'Check what a reload would change and what the role may see; with --offline, check only files'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand ping" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand shutdown" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s w -l watch -d 'Show the table of the servers again every so many seconds, 2 without a number' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and not __fish_seen_subcommand_from details" -f -a "details" -d 'Show all details of each server'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand status; and __fish_seen_subcommand_from details" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -f -a "reload" -d 'Read the configuration again: all of it, or nothing and the reasons'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -f -a "ls" -d 'List the files of the configuration'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -f -a "get" -d 'Show a value of the configuration, or all'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and not __fish_seen_subcommand_from reload ls get set" -f -a "set" -d 'Change a value until the next reload'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from reload" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from ls" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from get" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand conf; and __fish_seen_subcommand_from set" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and not __fish_seen_subcommand_from prometheus" -f -a "prometheus" -d 'Clear the cached metrics, and reset the counters to 0'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand clear; and __fish_seen_subcommand_from prometheus" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s w -l watch -d 'Show the table of the servers again every so many seconds, 2 without a number' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand targets" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand scrape" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and not __fish_seen_subcommand_from level" -f -a "level" -d 'debug5 to debug1, info, warn, error or fatal'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand log; and __fish_seen_subcommand_from level" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand encrypt" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand decrypt" -s ? -l help -d 'Show this help'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -l url -d 'Scrape this address once, as Prometheus does, and check the answer' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -l ca -d 'The authorities to trust at an https:// address, in place of the system\'s' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s D -l directory -d 'The folder of pgexporter.conf, as `pgexporter -D`' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s u -l users -d 'The users file, as `pgexporter -u`' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s A -l admins -d 'The admins file, as `pgexporter -A`' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s Y -s J -l yaml -l json -d 'More metrics, as `pgexporter -Y` and `-J`' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s c -l config -d 'The pgexporter.conf file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s h -l host -d 'The host to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s p -l port -d 'The management port to connect to' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s U -l user -d 'The admin\'s name' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s P -l password -d 'The admin\'s password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s L -l logfile -d 'Also write errors to this file' -r -F
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s F -l format -d 'Format of the output; text without it' -r -f -a "text\t'Lines of `Key: value`'
json\t'Indented JSON'
raw\t'The answer as received'"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s C -l compress -d 'Compress requests and answers' -r -f -a "none\t''
gz\t''
zstd\t''
lz4\t''
bz2\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s E -l encrypt -d 'Encrypt requests and answers with the master key' -r -f -a "none\t''
aes\t''
aes256\t''
aes192\t''
aes128\t''"
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -l offline -d 'Check only files, without an exporter or a server'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s v -l verbose -d 'Say whether the command succeeded'
complete -c pgexporter-cli -n "__fish_pgexporter_cli_using_subcommand check" -s ? -l help -d 'Show this help'
