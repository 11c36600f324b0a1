/* OVF 1.0 as VirtualBox, VMware and others read it: a machine with AHCI disks and an Intel NIC,
 * which any guest of theirs has drivers for. */
#include "config.h"

#include <string.h>

#include "image/export.h"

enum {
    TYPE_CPU = 3,
    TYPE_MEMORY = 4,
    TYPE_NIC = 10,
    TYPE_DISK = 17,
    TYPE_SATA = 20,
    CONTROLLER_ID = 3,
    FIRST_DISK_ID = 10,
};

static const char head[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                           "<Envelope ovf:version=\"1.0\" xml:lang=\"en-US\"\n"
                           "  xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\"\n"
                           "  xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"\n"
                           "  xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
                           "CIM_ResourceAllocationSettingData\"\n"
                           "  xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
                           "CIM_VirtualSystemSettingData\"\n"
                           "  xmlns:vmw=\"http://www.vmware.com/schema/ovf\">\n";

static const char disk_format[] =
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/* One <Item> of the hardware; @rest are its elements besides, ready-made. Elements stand in the
 * order of the alphabet, as the schema wants them. */
static void
add_item(GString *text, const char *before, const char *name, int id, const char *middle, int type)
{
    g_string_append_printf(text,
                           "      <Item>\n%s"
                           "        <rasd:ElementName>%s</rasd:ElementName>\n%s"
                           "        <rasd:InstanceID>%d</rasd:InstanceID>\n",
                           before, name, type == TYPE_DISK ? middle : "", id);
    if (type == TYPE_DISK) {
        g_string_append_printf(text, "        <rasd:Parent>%d</rasd:Parent>\n", CONTROLLER_ID);
    } else {
        g_string_append(text, middle);
    }
    g_string_append_printf(text, "        <rasd:ResourceType>%d</rasd:ResourceType>\n", type);
}

static void
end_item(GString *text, const char *quantity)
{
    g_string_append_printf(text, "%s      </Item>\n", quantity);
}

static void
add_processor_and_memory(GString *text, const LodgeExportMachine *machine)
{
    g_autofree char *cpus = g_strdup_printf(
        "        <rasd:VirtualQuantity>%u</rasd:VirtualQuantity>\n", machine->cpus);
    g_autofree char *memory = g_strdup_printf("        <rasd:VirtualQuantity>%" G_GUINT64_FORMAT
                                              "</rasd:VirtualQuantity>\n",
                                              machine->memory_bytes >> 20);
    add_item(text, "        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>\n",
             "processors", 1, "", TYPE_CPU);
    end_item(text, cpus);
    add_item(text, "        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>\n", "memory",
             2, "", TYPE_MEMORY);
    end_item(text, memory);
}

static void
add_devices(GString *text, const LodgeExportMachine *machine)
{
    add_item(text, "        <rasd:Address>0</rasd:Address>\n", "SATA controller", CONTROLLER_ID,
             "        <rasd:ResourceSubType>AHCI</rasd:ResourceSubType>\n", TYPE_SATA);
    end_item(text, "");
    add_item(text,
             "        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>\n"
             "        <rasd:Connection>network</rasd:Connection>\n",
             "network adapter", CONTROLLER_ID + 1,
             "        <rasd:ResourceSubType>E1000</rasd:ResourceSubType>\n", TYPE_NIC);
    end_item(text, "");
    for (gsize i = 0; i < machine->disk_count; i++) {
        g_autofree char *address = g_strdup_printf(
            "        <rasd:AddressOnParent>%zu</rasd:AddressOnParent>\n", i);
        g_autofree char *source = g_strdup_printf(
            "        <rasd:HostResource>ovf:/disk/disk%zu</rasd:HostResource>\n", i + 1);
        g_autofree char *name = g_strdup_printf("disk %zu", i + 1);
        add_item(text, address, name, FIRST_DISK_ID + (int)i, source, TYPE_DISK);
        end_item(text, "");
    }
}

static void
add_files(GString *text, const LodgeExportMachine *machine, const char *const *files,
          const guint64 *file_bytes)
{
    g_string_append(text, "  <References>\n");
    for (gsize i = 0; i < machine->disk_count; i++) {
        g_autofree char *href = g_markup_escape_text(files[i], -1);
        g_string_append_printf(text,
                               "    <File ovf:href=\"%s\" ovf:id=\"file%zu\" "
                               "ovf:size=\"%" G_GUINT64_FORMAT "\"/>\n",
                               href, i + 1, file_bytes[i]);
    }
    g_string_append(text, "  </References>\n  <DiskSection>\n    <Info>Its disks</Info>\n");
    for (gsize i = 0; i < machine->disk_count; i++) {
        g_string_append_printf(text,
                               "    <Disk ovf:capacity=\"%" G_GUINT64_FORMAT
                               "\" ovf:capacityAllocationUnits=\"byte\" ovf:diskId=\"disk%zu\" "
                               "ovf:fileRef=\"file%zu\" ovf:format=\"%s\"/>\n",
                               machine->disks[i].size_bytes, i + 1, i + 1, disk_format);
    }
    g_string_append(text, "  </DiskSection>\n");
}

char *
lodge_ovf_write(const LodgeExportMachine *machine, const char *const *files,
                const guint64 *file_bytes)
{
    GString *text = g_string_new(head);
    g_autofree char *name = g_markup_escape_text(machine->name, -1);
    g_autofree char *title = g_markup_escape_text(
        machine->title != NULL ? machine->title : machine->name, -1);
    add_files(text, machine, files, file_bytes);
    g_string_append_printf(
        text,
        "  <NetworkSection>\n    <Info>Its networks</Info>\n    <Network ovf:name=\"network\">\n"
        "      <Description>What its network adapter is connected to</Description>\n"
        "    </Network>\n  </NetworkSection>\n"
        "  <VirtualSystem ovf:id=\"%s\">\n    <Info>%s</Info>\n    <Name>%s</Name>\n"
        "    <OperatingSystemSection ovf:id=\"102\">\n      <Info>Any system, 64 bits</Info>\n"
        "    </OperatingSystemSection>\n"
        "    <VirtualHardwareSection>\n      <Info>Its hardware</Info>\n      <System>\n"
        "        <vssd:ElementName>hardware</vssd:ElementName>\n"
        "        <vssd:InstanceID>0</vssd:InstanceID>\n"
        "        <vssd:VirtualSystemIdentifier>%s</vssd:VirtualSystemIdentifier>\n"
        "        <vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType>\n      </System>\n",
        name, title, name, name);
    add_processor_and_memory(text, machine);
    add_devices(text, machine);
    g_string_append_printf(text,
                           "      <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" "
                           "vmw:value=\"%s\"/>\n"
                           "    </VirtualHardwareSection>\n  </VirtualSystem>\n</Envelope>\n",
                           machine->uefi ? "efi" : "bios");
    return g_string_free(text, FALSE);
}
