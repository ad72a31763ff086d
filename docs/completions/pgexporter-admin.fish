# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pgexporter_admin_global_optspecs
    string join \n f/file= U/user= P/password= g/generate l/length= F/format= ?/help V/version
end

function __fish_pgexporter_admin_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pgexporter_admin_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pgexporter_admin_using_subcommand
    set -l cmd (__fish_pgexporter_admin_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -s f -l file -d 'The users file' -r -F
complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -s U -l user -d 'The user\'s name' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -s P -l password -d 'The password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -s l -l length -d 'Length of a generated password, 8 to 1024' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -s F -l format -d 'Format of the output' -r -f -a "text\t''
json\t''"
complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -s g -l generate -d 'Generate a password'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -s ? -l help -d 'Show this help'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -s V -l version -d 'Print version'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -f -a "master-key" -d 'Create the master key'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_needs_command" -f -a "user" -d 'Keep the users in a users file'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand master-key" -s f -l file -d 'The users file' -r -F
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand master-key" -s U -l user -d 'The user\'s name' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand master-key" -s P -l password -d 'The password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand master-key" -s l -l length -d 'Length of a generated password, 8 to 1024' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand master-key" -s F -l format -d 'Format of the output' -r -f -a "text\t''
json\t''"
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand master-key" -s g -l generate -d 'Generate a password'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand master-key" -s ? -l help -d 'Show this help'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -s f -l file -d 'The users file' -r -F
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -s U -l user -d 'The user\'s name' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -s P -l password -d 'The password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -s l -l length -d 'Length of a generated password, 8 to 1024' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -s F -l format -d 'Format of the output' -r -f -a "text\t''
json\t''"
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -s g -l generate -d 'Generate a password'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -s ? -l help -d 'Show this help'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -f -a "add" -d 'Add a user'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -f -a "edit" -d 'Give a user a new password'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -f -a "del" -d 'Remove a user'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and not __fish_seen_subcommand_from add edit del ls" -f -a "ls" -d 'List the users'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from add" -s f -l file -d 'The users file' -r -F
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from add" -s U -l user -d 'The user\'s name' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from add" -s P -l password -d 'The password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from add" -s l -l length -d 'Length of a generated password, 8 to 1024' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from add" -s F -l format -d 'Format of the output' -r -f -a "text\t''
json\t''"
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from add" -s g -l generate -d 'Generate a password'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from add" -s ? -l help -d 'Show this help'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from edit" -s f -l file -d 'The users file' -r -F
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from edit" -s U -l user -d 'The user\'s name' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from edit" -s P -l password -d 'The password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from edit" -s l -l length -d 'Length of a generated password, 8 to 1024' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from edit" -s F -l format -d 'Format of the output' -r -f -a "text\t''
json\t''"
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from edit" -s g -l generate -d 'Generate a password'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from edit" -s ? -l help -d 'Show this help'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from del" -s f -l file -d 'The users file' -r -F
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from del" -s U -l user -d 'The user\'s name' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from del" -s P -l password -d 'The password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from del" -s l -l length -d 'Length of a generated password, 8 to 1024' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from del" -s F -l format -d 'Format of the output' -r -f -a "text\t''
json\t''"
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from del" -s g -l generate -d 'Generate a password'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from del" -s ? -l help -d 'Show this help'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from ls" -s f -l file -d 'The users file' -r -F
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from ls" -s U -l user -d 'The user\'s name' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from ls" -s P -l password -d 'The password; it is visible to everyone in the list of processes' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from ls" -s l -l length -d 'Length of a generated password, 8 to 1024' -r
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from ls" -s F -l format -d 'Format of the output' -r -f -a "text\t''
json\t''"
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from ls" -s g -l generate -d 'Generate a password'
complete -c pgexporter-admin -n "__fish_pgexporter_admin_using_subcommand user; and __fish_seen_subcommand_from ls" -s ? -l help -d 'Show this help'
